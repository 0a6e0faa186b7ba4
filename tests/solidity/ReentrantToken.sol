// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title ReentrantToken
/// @notice A quote token that takes part in the market itself and calls it back during a transfer. For tests only.
contract ReentrantToken is ERC20 {
    address private _target;
    bytes private _data;

    constructor() ERC20("Reentrant", "RE") {}

    /// @notice Anybody may have any amount.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice The call to make during the next transfer.
    function arm(address target, bytes calldata data) external {
        (_target, _data) = (target, data);
    }

    /// @notice Makes a call as the token itself.
    function run(address target, bytes calldata data) external {
        _call(target, data);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        address target = _target;
        if (target == address(0) || from == address(0)) return;
        _target = address(0);
        _call(target, _data);
    }

    /// @dev Passes a refusal on as it is.
    function _call(address target, bytes memory data) private {
        // An attack calls what it likes.
        // solhint-disable-next-line avoid-low-level-calls
        (bool ok, bytes memory answer) = target.call(data);
        if (ok) return;
        // solhint-disable-next-line no-inline-assembly
        assembly {
            revert(add(answer, 32), mload(answer))
        }
    }
}
