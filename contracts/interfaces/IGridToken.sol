// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

/// @title GRID
/// @notice Energy as a token: 1 GRID = 1e18 wei = 1 kWh metered export, not yet consumed.
interface IGridToken {
    /// @notice GRID came into being for metered export. `meterId` is zero for a batch of meters, whose
    ///         readings are in Metering's events of the same transaction.
    event Minted(address indexed to, uint256 amount, bytes32 indexed meterId);

    /// @notice Creates GRID. Minters only.
    /// @param to Receiver.
    /// @param amount GRID wei, 1e15 to the Wh.
    /// @param meterId The meter that measured the energy, or zero for a batch.
    function mint(address to, uint256 amount, bytes32 meterId) external;

    /// @notice Destroys the caller's GRID: the energy is consumed.
    function burn(uint256 amount) external;

    /// @notice Destroys GRID of `account` within the caller's allowance.
    function burnFrom(address account, uint256 amount) external;
}
