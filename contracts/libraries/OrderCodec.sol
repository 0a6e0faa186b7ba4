// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

/// @title Order codec
/// @notice An order as 42 bits, the same in calldata, in storage and in events.
/// @dev Layout, least significant bit first:
///
///      | bits | field      | meaning                                                        |
///      |------|------------|----------------------------------------------------------------|
///      | 24   | quantityWh | energy in Wh; 0 once the order is cancelled                    |
///      | 10   | tick       | limit price in ticks per kWh, 1..1023                          |
///      | 1    | side       | 0 bid (buy), 1 ask (sell)                                      |
///      | 7    | life       | epochs a standing order still lives; 0 = this epoch only       |
///
///      24 + 10 + 1 + 7 = 42 bits. Six orders fill 252 bits of a storage word. `life` is reserved: every
///      entry point of today refuses an order in which it is not zero.
library OrderCodec {
    /// @notice Side of an order that buys energy.
    uint256 internal constant BID = 0;
    /// @notice Side of an order that sells energy.
    uint256 internal constant ASK = 1;

    /// @notice Width of an encoded order.
    uint256 internal constant BITS = 42;
    /// @notice Mask of one encoded order.
    uint256 internal constant MASK = (1 << BITS) - 1;
    /// @notice Orders to a storage word.
    uint256 internal constant PER_WORD = 6;

    uint256 private constant _QUANTITY_BITS = 24;
    uint256 private constant _QUANTITY_MASK = (1 << _QUANTITY_BITS) - 1;
    uint256 private constant _TICK_MASK = (1 << 10) - 1;
    uint256 private constant _SIDE_SHIFT = 34;
    uint256 private constant _LIFE_SHIFT = 35;

    /// @notice Encodes an order for one epoch.
    /// @dev The caller has checked the ranges: a value too wide would spill into its neighbour.
    /// @param side 0 bid, 1 ask.
    /// @param tick Limit, 1..1023.
    /// @param quantityWh Energy in Wh, below 2**24.
    function pack(uint256 side, uint256 tick, uint256 quantityWh) internal pure returns (uint256 order) {
        return (side << _SIDE_SHIFT) | (tick << _QUANTITY_BITS) | quantityWh;
    }

    /// @notice Decodes an order.
    /// @return side 0 bid, 1 ask.
    /// @return tick Limit in ticks.
    /// @return quantityWh Energy in Wh; 0 means cancelled.
    function unpack(uint256 order) internal pure returns (uint256 side, uint256 tick, uint256 quantityWh) {
        quantityWh = order & _QUANTITY_MASK;
        tick = (order >> _QUANTITY_BITS) & _TICK_MASK;
        side = (order >> _SIDE_SHIFT) & 1;
    }

    /// @notice Epochs a standing order still lives, and every bit above it; 0 for an order of one epoch.
    function life(uint256 order) internal pure returns (uint256) {
        return order >> _LIFE_SHIFT;
    }

    /// @notice An order of a list, by an index that the caller knows to be in it: the check costs 30 gas an order.
    function at(uint48[] memory orders, uint256 index) internal pure returns (uint256 order) {
        assembly ("memory-safe") {
            order := mload(add(add(orders, 0x20), shl(5, index)))
        }
    }

    /// @notice Whether an order of one epoch has a tick of 1..1023 and a quantity within the two limits.
    function isValid(uint256 order, uint256 minimumWh, uint256 maximumWh) internal pure returns (bool) {
        unchecked {
            // One comparison for two limits: below the lower one the difference is huge.
            return
                order >> _LIFE_SHIFT == 0 &&
                (order >> _QUANTITY_BITS) & _TICK_MASK != 0 &&
                (order & _QUANTITY_MASK) - minimumWh <= maximumWh - minimumWh;
        }
    }

    /// @notice The same order with its quantity taken out: what is stored when it is cancelled.
    function cancelled(uint256 order) internal pure returns (uint256) {
        return order & ~_QUANTITY_MASK;
    }
}
