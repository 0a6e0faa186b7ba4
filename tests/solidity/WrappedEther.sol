// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title WrappedEther
/// @notice Wrapped ether as it stands on mainnet in what matters here: no permit, and a fallback that takes any call,
///         so that asking it for a permit fails without failing. For tests only.
contract WrappedEther is ERC20 {
    constructor() ERC20("Wrapped Ether", "WETH") {}

    fallback() external payable {
        deposit();
    }

    receive() external payable {
        deposit();
    }

    /// @notice Wraps the ether sent along.
    function deposit() public payable {
        _mint(msg.sender, msg.value);
    }
}
