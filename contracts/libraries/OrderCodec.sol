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
///      | 7    | life       | epochs it stands beyond its own, 0..96; 0 = its own only       |
///
///      24 + 10 + 1 + 7 = 42 bits. Six orders fill 252 bits of a storage word. Its own epoch is the one it is
///      entered or rolled into; in a signed bundle, the bundle's first (see Messages).
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
    /// @dev Side, tick and quantity.
    uint256 private constant _BODY_MASK = (1 << _LIFE_SHIFT) - 1;

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

    /// @notice Epochs an order stands beyond its own, and every bit above that.
    function life(uint256 order) internal pure returns (uint256) {
        return order >> _LIFE_SHIFT;
    }

    /// @notice An order of a list, by an index that the caller knows to be in it: the check costs 30 gas an order.
    function at(uint48[] memory orders, uint256 index) internal pure returns (uint256 order) {
        assembly ("memory-safe") {
            order := mload(add(add(orders, 0x20), shl(5, index)))
        }
    }

    /// @notice Puts an order in a list, by an index that the caller knows to be in it.
    function put(uint48[] memory orders, uint256 index, uint256 order) internal pure {
        assembly ("memory-safe") {
            mstore(add(add(orders, 0x20), shl(5, index)), order)
        }
    }

    /// @notice Whether an order has a tick of 1..1023, a quantity within the two limits and a life within its own.
    function isValid(
        uint256 order,
        uint256 minimumWh,
        uint256 maximumWh,
        uint256 maximumLife
    ) internal pure returns (bool) {
        unchecked {
            // One comparison for two limits: below the lower one the difference is huge.
            return
                order >> _LIFE_SHIFT <= maximumLife &&
                (order >> _QUANTITY_BITS) & _TICK_MASK != 0 &&
                (order & _QUANTITY_MASK) - minimumWh <= maximumWh - minimumWh;
        }
    }

    /// @notice The same order some epochs later: its life is that much shorter, but not below 0.
    function aged(uint256 order, uint256 epochs) internal pure returns (uint256) {
        unchecked {
            uint256 left = order >> _LIFE_SHIFT;
            left = left > epochs ? left - epochs : 0;
            return (order & _BODY_MASK) | (left << _LIFE_SHIFT);
        }
    }

    /// @notice Whether two orders are alike but for quantity and life.
    function isAlike(uint256 order, uint256 other) internal pure returns (bool) {
        return (order ^ other) & (_BODY_MASK ^ _QUANTITY_MASK) == 0;
    }

    /// @notice Orders as events tell them: six bytes each.
    function toBytes(uint48[] memory orders) internal pure returns (bytes memory packed) {
        unchecked {
            packed = new bytes(6 * orders.length);
            for (uint256 i = 0; i < orders.length; ++i) {
                uint256 order = at(orders, i);
                assembly ("memory-safe") {
                    // 32 bytes, 26 of which the next one overwrites; behind the last one memory is free.
                    mstore(add(add(packed, 0x20), mul(i, 6)), shl(208, order))
                }
            }
        }
    }

    /// @notice The same order with its quantity taken out: what is stored when it is cancelled.
    function cancelled(uint256 order) internal pure returns (uint256) {
        return order & ~_QUANTITY_MASK;
    }
}
