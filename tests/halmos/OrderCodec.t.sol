// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {OrderCodec} from "../../contracts/libraries/OrderCodec.sol";
import {Proof} from "./Proof.sol";

// solhint-disable func-name-mixedcase -- halmos knows a proof by `check_`

/// @title OrderCodecProof
contract OrderCodecProof is Proof {
    /// @notice An order comes out of its 42 bits as it went in, and says that it lives for one epoch.
    function check_packThenUnpack__is_identity(uint256 side, uint256 tick, uint256 quantityWh) external pure {
        _assumeInRange(side, tick, quantityWh);
        uint256 order = OrderCodec.pack(side, tick, quantityWh);
        assert(order <= OrderCodec.MASK && OrderCodec.life(order) == 0);
        (uint256 side_, uint256 tick_, uint256 quantityWh_) = OrderCodec.unpack(order);
        assert(side_ == side && tick_ == tick && quantityWh_ == quantityWh);
    }

    /// @notice An order is valid if its tick, quantity and life are within their limits and no other bit is set.
    function check_isValid__says_what_the_limits_say(
        uint256 order,
        uint256 minimum,
        uint256 maximum,
        uint256 longest
    ) external pure {
        CHEATS.assume(order < 1 << 48 && minimum <= maximum && maximum < 1 << 24 && longest < 1 << 7);
        (, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(order);
        bool within = tick >= 1 && quantityWh >= minimum && quantityWh <= maximum;
        bool lives = order <= OrderCodec.MASK && OrderCodec.life(order) <= longest;
        assert(OrderCodec.isValid(order, minimum, maximum, longest) == (within && lives));
    }

    /// @notice Ageing takes epochs out of an order's life, down to none, and leaves everything else in it.
    function check_aged__shortens_the_life_alone(uint256 order, uint256 epochs) external pure {
        CHEATS.assume(order <= OrderCodec.MASK);
        uint256 older = OrderCodec.aged(order, epochs);
        (uint256 side, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(order);
        (uint256 side_, uint256 tick_, uint256 quantityWh_) = OrderCodec.unpack(older);
        assert(side_ == side && tick_ == tick && quantityWh_ == quantityWh && older <= OrderCodec.MASK);
        uint256 before = OrderCodec.life(order);
        assert(OrderCodec.life(older) == (before > epochs ? before - epochs : 0));
    }

    /// @notice Two orders are alike if side and tick are the same, whatever their quantities and lives.
    function check_isAlike__compares_side_and_tick(uint256 order, uint256 other) external pure {
        CHEATS.assume(order <= OrderCodec.MASK && other <= OrderCodec.MASK);
        (uint256 side, uint256 tick, ) = OrderCodec.unpack(order);
        (uint256 side_, uint256 tick_, ) = OrderCodec.unpack(other);
        assert(OrderCodec.isAlike(order, other) == (side == side_ && tick == tick_));
    }

    /// @notice Cancelling takes the quantity out of an order and leaves everything else in it.
    function check_cancelled__takes_out_the_quantity_alone(uint256 order) external pure {
        uint256 left = OrderCodec.cancelled(order);
        (uint256 side, uint256 tick, ) = OrderCodec.unpack(order);
        (uint256 side_, uint256 tick_, uint256 quantityWh_) = OrderCodec.unpack(left);
        assert(side_ == side && tick_ == tick && quantityWh_ == 0);
        assert(OrderCodec.life(left) == OrderCodec.life(order));
    }

    /// @notice An order entered into a free lane of a word, as Trading does it, reads back and leaves the others.
    function check_enter__leaves_neighbours(
        uint256 word,
        uint256 lane,
        uint256 other,
        uint256 side,
        uint256 tick,
        uint256 quantityWh
    ) external pure {
        _assumeInRange(side, tick, quantityWh);
        CHEATS.assume(lane < OrderCodec.PER_WORD && other < OrderCodec.PER_WORD && lane != other);
        CHEATS.assume(_at(word, lane) == 0);
        uint256 order = OrderCodec.pack(side, tick, quantityWh);
        uint256 written = word | (order << (lane * OrderCodec.BITS));
        assert(_at(written, lane) == order);
        assert(_at(written, other) == _at(word, other));
    }

    /// @notice An order cancelled where it stands in a word, as Trading does it, leaves the others.
    function check_cancelInPlace__leaves_neighbours(uint256 word, uint256 lane, uint256 other) external pure {
        CHEATS.assume(lane < OrderCodec.PER_WORD && other < OrderCodec.PER_WORD && lane != other);
        uint256 order = _at(word, lane);
        uint256 written = word ^ ((order ^ OrderCodec.cancelled(order)) << (lane * OrderCodec.BITS));
        assert(_at(written, lane) == OrderCodec.cancelled(order));
        assert(_at(written, other) == _at(word, other));
    }

    function _at(uint256 word, uint256 lane) private pure returns (uint256) {
        return (word >> (lane * OrderCodec.BITS)) & OrderCodec.MASK;
    }

    function _assumeInRange(uint256 side, uint256 tick, uint256 quantityWh) private pure {
        CHEATS.assume(side <= OrderCodec.ASK && tick < 1 << 10 && quantityWh < 1 << 24);
    }
}
