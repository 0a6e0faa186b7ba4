// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {OrderCodec} from "./OrderCodec.sol";

/// @title Clearing
/// @notice What an auction decided, in one word, and what it means for one order.
/// @dev Bracketed numbers point to the notes of docs/protocol.md, where each rounding is argued.
///
///      Units: q, R, M, V in Wh; energy in micro-Wh (1 Wh = 1e6); price doubled, in half ticks per kWh;
///      money in money units, one unit being half a tick x one micro-Wh, so energy x doubled price is
///      money without any division.
///
///      Result word, least significant bit first: lower tick a 10 | upper tick b 10 | longSide 2 |
///      R 38 | M 38 | V 50 = 148 bits. A result without volume is the zero word.
library Clearing {
    /// @notice Micro-Wh in a Wh.
    uint256 internal constant ENERGY_UNITS_PER_WH = 1e6;

    /// @notice Both sides fill exactly.
    uint256 internal constant NEITHER = 0;
    /// @notice Bids at the marginal tick are rationed.
    uint256 internal constant BIDS = 1;
    /// @notice Asks at the marginal tick are rationed.
    uint256 internal constant ASKS = 2;

    uint256 private constant _TICK = (1 << 10) - 1;
    uint256 private constant _TICK_VOLUME = (1 << 38) - 1;

    /// @notice Outcome of one epoch's auction in one zone.
    struct Result {
        /// Lowest tick of the equilibrium interval.
        uint256 lower;
        /// Highest tick of the equilibrium interval; `lower + upper` is the doubled price.
        uint256 upper;
        /// NEITHER, BIDS or ASKS: the side rationed at `lower` (then equal to `upper`).
        uint256 longSide;
        /// R: Wh that the rationed side gets filled at the marginal tick.
        uint256 filledWh;
        /// M: Wh that the rationed side has at the marginal tick.
        uint256 offeredWh;
        /// V: Wh traded.
        uint256 volumeWh;
    }

    /// @notice Encodes a result; one without volume is zero, so that nothing need be written for it.
    function pack(Result memory r) internal pure returns (uint256 word) {
        if (r.volumeWh == 0) return 0;
        word = r.lower | (r.upper << 10) | (r.longSide << 20);
        word |= (r.filledWh << 22) | (r.offeredWh << 60) | (r.volumeWh << 98);
    }

    /// @notice Decodes a result word.
    function unpack(uint256 word) internal pure returns (Result memory r) {
        r.lower = word & _TICK;
        r.upper = (word >> 10) & _TICK;
        r.longSide = (word >> 20) & 3;
        r.filledWh = (word >> 22) & _TICK_VOLUME;
        r.offeredWh = (word >> 60) & _TICK_VOLUME;
        r.volumeWh = word >> 98;
    }

    /// @notice What an order locks while it is open: a bid its limit's worth of money, an ask its energy.
    /// @return energy Locked energy in micro-Wh.
    /// @return money Locked money in money units.
    function escrow(
        uint256 side,
        uint256 tick,
        uint256 quantityWh
    ) internal pure returns (uint256 energy, uint256 money) {
        unchecked {
            // [R1] exact: below 2**24 Wh x 1e6 x 2046, so 2**55 at most.
            if (side == OrderCodec.ASK) energy = quantityWh * ENERGY_UNITS_PER_WH;
            else money = quantityWh * ENERGY_UNITS_PER_WH * 2 * tick;
        }
    }

    /// @notice What goes back to the owner's free balance when an order's epoch is settled.
    /// @param r Result of the order's epoch; without volume the whole escrow returns.
    /// @return energy Micro-Wh: what a bid bought, or what an ask did not sell.
    /// @return money Money units: what an ask earned, or what a bid did not spend.
    function settle(
        Result memory r,
        uint256 side,
        uint256 tick,
        uint256 quantityWh
    ) internal pure returns (uint256 energy, uint256 money) {
        if (r.volumeWh == 0) return escrow(side, tick, quantityWh);
        unchecked {
            // No overflow: q units < 2**44, R < 2**38, doubled price < 2**11. No underflow: R <= M, and no bid
            // fills below the price. A side is long only if both ends of the interval are one tick, the marginal one:
            // whoever's limit is the price is there.
            uint256 price2 = r.lower + r.upper;
            uint256 units = quantityWh * ENERGY_UNITS_PER_WH;
            if (side == OrderCodec.BID) {
                uint256 locked = units * 2 * tick;
                if (2 * tick < price2) {
                    money = locked;
                } else if (2 * tick == price2 && r.longSide == BIDS) {
                    // [R2] the bid gets floor(f) and pays ceil(f p), f = units x R / M.
                    energy = (units * r.filledWh) / r.offeredWh;
                    money = locked - _ceilDiv(units * r.filledWh * price2, r.offeredWh);
                } else {
                    // [R3] whole fills are exact.
                    energy = units;
                    money = locked - units * price2;
                }
            } else {
                if (2 * tick > price2) {
                    energy = units;
                } else if (2 * tick == price2 && r.longSide == ASKS) {
                    // [R2] the ask gives ceil(f) and receives floor(f p).
                    energy = units - _ceilDiv(units * r.filledWh, r.offeredWh);
                    money = (units * r.filledWh * price2) / r.offeredWh;
                } else {
                    // [R3]
                    money = units * price2;
                }
            }
        }
    }

    /// @notice What an order has left after its epoch, in whole Wh: what stands on if it is a standing one.
    /// @dev [R9] `settle` of the same order gave `energy` and `money`, and what is left can always be locked out of
    ///      these again: it is a quotient of them, rounded down, and so its escrow is not more.
    /// @return restWh Whole Wh; 0 if it filled wholly.
    function remainder(
        uint256 side,
        uint256 tick,
        uint256 quantityWh,
        uint256 energy,
        uint256 money
    ) internal pure returns (uint256 restWh) {
        unchecked {
            if (side == OrderCodec.ASK) return energy / ENERGY_UNITS_PER_WH;
            // A bid filled wholly has back what it saved on its limit, and nothing of it is left.
            if (energy == quantityWh * ENERGY_UNITS_PER_WH) return 0;
            return money / (ENERGY_UNITS_PER_WH * 2 * tick);
        }
    }

    function _ceilDiv(uint256 x, uint256 y) private pure returns (uint256) {
        unchecked {
            return (x + y - 1) / y;
        }
    }
}
