// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

import {IGridToken} from "./interfaces/IGridToken.sol";
import {IPSP22} from "./interfaces/IPSP22.sol";

/// @title GridToken
/// @notice GRID: one token a kilowatt-hour. OpenZeppelin's ERC-20 with permit and burn, the PSP22 surface,
///         and minting by role.
/// @dev Nobody can freeze or take balances. Minting is stopped by withdrawing the minter role.
contract GridToken is IGridToken, IPSP22, ERC20, ERC20Burnable, ERC20Permit, AccessManaged {
    /// @param authority Access manager.
    constructor(
        address authority
    ) ERC20("Busbar Grid Energy", "GRID") ERC20Permit("Busbar Grid Energy") AccessManaged(authority) {}

    /// @inheritdoc IGridToken
    function mint(address to, uint256 amount, bytes32 meterId) external restricted {
        _mint(to, amount);
        emit Minted(to, amount, meterId);
    }

    /// @inheritdoc IPSP22
    function transfer(address to, uint256 value, bytes calldata data) external returns (bool) {
        transfer(to, value);
        if (data.length != 0) emit TransferData(msg.sender, to, value, data);
        return true;
    }

    /// @inheritdoc IPSP22
    function transferFrom(address from, address to, uint256 value, bytes calldata data) external returns (bool) {
        transferFrom(from, to, value);
        if (data.length != 0) emit TransferData(from, to, value, data);
        return true;
    }

    /// @inheritdoc IPSP22
    function increaseAllowance(address spender, uint256 deltaValue) external returns (bool) {
        _approve(msg.sender, spender, allowance(msg.sender, spender) + deltaValue);
        return true;
    }

    /// @inheritdoc IPSP22
    function decreaseAllowance(address spender, uint256 deltaValue) external returns (bool) {
        uint256 current = allowance(msg.sender, spender);
        if (current < deltaValue) revert AllowanceBelowZero(spender, current, deltaValue);
        _approve(msg.sender, spender, current - deltaValue);
        return true;
    }

    /// @inheritdoc IGridToken
    function burn(uint256 amount) public override(IGridToken, ERC20Burnable) {
        super.burn(amount);
    }

    /// @inheritdoc IGridToken
    function burnFrom(address account, uint256 amount) public override(IGridToken, ERC20Burnable) {
        super.burnFrom(account, amount);
    }
}
