// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {Book} from "./libraries/Book.sol";
import {Clearing} from "./libraries/Clearing.sol";
import {Standing} from "./libraries/Standing.sol";

/// @title Auction
/// @notice What Trading does seldom, once an epoch or for standing orders, in a library of its own: it is deployed first
///         and linked into Trading, which has no room for it (EIP-170). A call costs 2,600 gas the first time in a
///         transaction. It has no storage and no rights: it reads and answers.
library Auction {
    /// @notice Runs the auction over a book, see Book.
    /// @return result As `Clearing.pack` gives it.
    function clear(Book.State storage book, uint256 epoch) external view returns (uint256 result) {
        return Clearing.pack(Book.clear(book, epoch));
    }

    /// @notice What settling an account's orders makes of them, see Standing.
    function settle(
        uint256[17] storage further,
        uint256 account,
        uint256 result,
        uint256 epoch,
        uint256 minimumWh
    ) external view returns (Standing.Rest memory rest) {
        return Standing.settle(further, account, result, epoch, minimumWh);
    }
}
