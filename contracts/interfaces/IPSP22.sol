// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

/// @title PSP22 surface beyond ERC-20
/// @notice PSP-22 is the fungible token standard of Polkadot's contracts, where this market has ancestors:
///         transfers may carry data, and allowances change by steps. `totalSupply`, `balanceOf`,
///         `allowance`, `approve`, `name`, `symbol` and `decimals` are those of ERC-20.
///         Source: https://github.com/w3f/PSPs/blob/master/PSPs/psp-22.md
interface IPSP22 {
    /// @notice A transfer carried data. Follows the ERC-20 `Transfer` of the same transfer.
    event TransferData(address indexed from, address indexed to, uint256 value, bytes data);

    /// @notice The allowance would fall below zero.
    error AllowanceBelowZero(address spender, uint256 allowance, uint256 subtracted);

    /// @notice As ERC-20 `transfer`, with data for the recipient's records.
    function transfer(address to, uint256 value, bytes calldata data) external returns (bool);

    /// @notice As ERC-20 `transferFrom`, with data for the recipient's records.
    function transferFrom(address from, address to, uint256 value, bytes calldata data) external returns (bool);

    /// @notice Raises what `spender` may take from the caller.
    function increaseAllowance(address spender, uint256 deltaValue) external returns (bool);

    /// @notice Lowers what `spender` may take from the caller; never below zero.
    function decreaseAllowance(address spender, uint256 deltaValue) external returns (bool);
}
