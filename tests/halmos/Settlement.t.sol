// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {Clearing} from "../../contracts/libraries/Clearing.sol";
import {OrderCodec} from "../../contracts/libraries/OrderCodec.sol";
import {Proof} from "./Proof.sol";

// Halmos knows a proof by `check_`.
// solhint-disable func-name-mixedcase

/// @title SettlementProof
/// @notice What `settle` gives back, as exact formulas for every order and every result in their whole ranges.
/// @dev Inequalities between products or quotients of unknowns are beyond the solver (it gives up at four bits a
///      factor), so those of a rationed order, the proofs that say they are bounded, are proved on a bounded domain only.
///      Beyond it they follow from the formulas: floor(f) p <= f p <= ceil(f p), and ceil(f p) <= units x p because
///      R <= M makes f <= units and units x p is whole; and x / y x y <= x for what is left.
contract SettlementProof is Proof {
    uint256 private constant _UNITS = 1e6;
    uint256 private constant _LARGEST_WH = (1 << 24) - 1;

    /// @notice Without trade the whole escrow returns.
    function check_settle__without_volume__returns_the_escrow(
        Clearing.Result memory r,
        uint256 side,
        uint256 tick,
        uint256 quantityWh
    ) external pure {
        _assumeOrder(side, tick, quantityWh);
        CHEATS.assume(r.volumeWh == 0);
        (uint256 lockedEnergy, uint256 lockedMoney) = Clearing.escrow(side, tick, quantityWh);
        (uint256 energy, uint256 money) = Clearing.settle(r, side, tick, quantityWh);
        assert(energy == lockedEnergy && money == lockedMoney);
    }

    /// @notice [R3] A bid that is not rationed fills wholly or not at all, to the unit. What returns of its money is
    ///         quantity x what it saved on the price, which lies in 0..limit: never more than it locked.
    function check_settle__bid__is_exact(Clearing.Result memory r, uint256 tick, uint256 quantityWh) external pure {
        _assumeOrder(OrderCodec.BID, tick, quantityWh);
        _assumeResult(r);
        CHEATS.assume(r.longSide != Clearing.BIDS || tick != r.lower);
        (uint256 energy, uint256 money) = Clearing.settle(r, OrderCodec.BID, tick, quantityWh);
        (, uint256 locked) = Clearing.escrow(OrderCodec.BID, tick, quantityWh);
        unchecked {
            uint256 limit2 = tick + tick;
            uint256 price2 = r.lower + r.upper;
            if (limit2 < price2) {
                assert(energy == 0 && money == locked);
            } else {
                uint256 saved2 = limit2 - price2;
                assert(saved2 < limit2);
                assert(energy == quantityWh * _UNITS);
                assert(money == quantityWh * _UNITS * saved2);
                assert(locked == quantityWh * _UNITS * limit2);
            }
        }
    }

    /// @notice [R3] An ask that is not rationed sells wholly at the price or not at all, to the unit.
    function check_settle__ask__is_exact(Clearing.Result memory r, uint256 tick, uint256 quantityWh) external pure {
        _assumeOrder(OrderCodec.ASK, tick, quantityWh);
        _assumeResult(r);
        CHEATS.assume(r.longSide != Clearing.ASKS || tick != r.lower);
        (uint256 energy, uint256 money) = Clearing.settle(r, OrderCodec.ASK, tick, quantityWh);
        (uint256 locked, ) = Clearing.escrow(OrderCodec.ASK, tick, quantityWh);
        unchecked {
            uint256 price2 = r.lower + r.upper;
            assert(locked == quantityWh * _UNITS);
            if (tick + tick > price2) assert(energy == locked && money == 0);
            else assert(energy == 0 && money == locked * price2);
        }
    }

    /// @notice [R2] A rationed bid gets floor(f) and pays ceil(f p), f being its units x R / M.
    function check_settle__rationed_bid__rounds_against_itself(
        uint256 tick,
        uint256 filledWh,
        uint256 offeredWh,
        uint256 quantityWh
    ) external pure {
        _assumeOrder(OrderCodec.BID, tick, quantityWh);
        _assumeRation(filledWh, offeredWh);
        (uint256 energy, uint256 money) = _rationed(OrderCodec.BID, tick, filledWh, offeredWh, quantityWh);
        (, uint256 locked) = Clearing.escrow(OrderCodec.BID, tick, quantityWh);
        unchecked {
            uint256 product = quantityWh * _UNITS * filledWh;
            assert(energy == product / offeredWh);
            assert(money == locked - (product * (tick + tick) + offeredWh - 1) / offeredWh);
        }
    }

    /// @notice [R2] A rationed ask gives ceil(f) and receives floor(f p).
    function check_settle__rationed_ask__rounds_against_itself(
        uint256 tick,
        uint256 filledWh,
        uint256 offeredWh,
        uint256 quantityWh
    ) external pure {
        _assumeOrder(OrderCodec.ASK, tick, quantityWh);
        _assumeRation(filledWh, offeredWh);
        (uint256 energy, uint256 money) = _rationed(OrderCodec.ASK, tick, filledWh, offeredWh, quantityWh);
        unchecked {
            uint256 product = quantityWh * _UNITS * filledWh;
            assert(energy == quantityWh * _UNITS - (product + offeredWh - 1) / offeredWh);
            assert(money == (product * (tick + tick)) / offeredWh);
        }
    }

    /// @notice Bounded: the largest order with a share of R in eleven, at the highest price.
    function check_settle__every_share_of_eleven__is_solvent(uint256 filledWh) external pure {
        filledWh &= 15;
        CHEATS.assume(filledWh > 0 && filledWh <= 11);
        _assertSolvent(1023, filledWh, 11, _LARGEST_WH);
    }

    /// @notice Bounded: the largest order with a share of two thirds, at the prices of ticks to 255.
    function check_settle__two_thirds_at_many_prices__is_solvent(uint256 tick) external pure {
        tick &= 255;
        CHEATS.assume(tick > 0);
        _assertSolvent(tick, 2, 3, _LARGEST_WH);
    }

    /// @notice [R9] What is left of an ask is what came back, in whole Wh, and its escrow a multiple of that: never more.
    function check_remainder__ask__is_what_came_back(uint256 quantityWh, uint256 energy, uint256 money) external pure {
        uint256 restWh = Clearing.remainder(OrderCodec.ASK, 1, quantityWh, energy, money);
        assert(restWh == energy / _UNITS);
        unchecked {
            (uint256 locked, ) = Clearing.escrow(OrderCodec.ASK, 1, restWh);
            assert(locked == (energy / _UNITS) * _UNITS);
        }
    }

    /// @notice [R9] Likewise of a bid that did not fill wholly, by the price of a Wh at its limit.
    function check_remainder__bid__is_what_came_back(
        uint256 tick,
        uint256 quantityWh,
        uint256 energy,
        uint256 money
    ) external pure {
        _assumeOrder(OrderCodec.BID, tick, quantityWh);
        uint256 restWh = Clearing.remainder(OrderCodec.BID, tick, quantityWh, energy, money);
        unchecked {
            if (energy == quantityWh * _UNITS) {
                assert(restWh == 0);
            } else {
                assert(restWh == money / (_UNITS * 2 * tick));
                (, uint256 locked) = Clearing.escrow(OrderCodec.BID, tick, restWh);
                assert(locked == restWh * _UNITS * 2 * tick);
            }
        }
    }

    /// @notice Bounded: with a share of R in eleven, what is left of the largest order is covered, on either side.
    function check_remainder__every_share_of_eleven__is_covered(uint256 filledWh) external pure {
        filledWh &= 15;
        CHEATS.assume(filledWh > 0 && filledWh < 11);
        for (uint256 side = OrderCodec.BID; side <= OrderCodec.ASK; ++side) {
            (uint256 energy, uint256 money) = _rationed(side, 1023, filledWh, 11, _LARGEST_WH);
            uint256 restWh = Clearing.remainder(side, 1023, _LARGEST_WH, energy, money);
            (uint256 lockedEnergy, uint256 lockedMoney) = Clearing.escrow(side, 1023, restWh);
            assert(restWh < _LARGEST_WH && lockedEnergy <= energy && lockedMoney <= money);
        }
    }

    /// @dev A rationed order keeps within its escrow, and its rounding never costs the other side anything.
    function _assertSolvent(uint256 tick, uint256 filledWh, uint256 offeredWh, uint256 quantityWh) private pure {
        uint256 units = quantityWh * _UNITS;
        uint256 price2 = tick + tick;
        (uint256 energy, uint256 money) = _rationed(OrderCodec.BID, tick, filledWh, offeredWh, quantityWh);
        assert(money <= units * price2 && energy <= units);
        assert(energy * price2 <= units * price2 - money);
        (energy, money) = _rationed(OrderCodec.ASK, tick, filledWh, offeredWh, quantityWh);
        assert(energy <= units && money <= (units - energy) * price2);
    }

    function _rationed(
        uint256 side,
        uint256 tick,
        uint256 filledWh,
        uint256 offeredWh,
        uint256 quantityWh
    ) private pure returns (uint256 energy, uint256 money) {
        uint256 longSide = side == OrderCodec.BID ? Clearing.BIDS : Clearing.ASKS;
        Clearing.Result memory r = Clearing.Result(tick, tick, longSide, filledWh, offeredWh, filledWh);
        return Clearing.settle(r, side, tick, quantityWh);
    }

    function _assumeOrder(uint256 side, uint256 tick, uint256 quantityWh) private pure {
        CHEATS.assume(side <= OrderCodec.ASK && tick > 0 && tick < 1 << 10 && quantityWh < 1 << 24);
    }

    /// @dev A result that Book.clear can return: with a long side both ends of the interval are one.
    function _assumeResult(Clearing.Result memory r) private pure {
        CHEATS.assume(r.volumeWh > 0 && r.longSide <= Clearing.ASKS);
        CHEATS.assume(r.lower > 0 && r.lower <= r.upper && r.upper < 1 << 10);
        CHEATS.assume(r.longSide == Clearing.NEITHER || r.lower == r.upper);
    }

    /// @dev R and M: the rationed side gets something, and not more than it has.
    function _assumeRation(uint256 filledWh, uint256 offeredWh) private pure {
        CHEATS.assume(filledWh > 0 && filledWh <= offeredWh && offeredWh < 1 << 38);
    }
}
