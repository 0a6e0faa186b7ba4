// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {Book} from "../../contracts/libraries/Book.sol";
import {Proof} from "./Proof.sol";

// Halmos knows a proof by `check_`.
// solhint-disable func-name-mixedcase

/// @title BookProof
/// @notice The book's words hold anything at first, as if earlier epochs had left it there.
contract BookProof is Proof {
    using Book for Book.State;

    uint256 private constant _TAG_SHIFT = 228;
    uint256 private constant _LANES_MASK = (1 << _TAG_SHIFT) - 1;

    mapping(uint256 zone => Book.State) private _books;

    /// @notice Generation tags never alias: volume entered in one epoch reads as zero in every other one.
    function check_volumeAt__of_another_epoch__is_zero(
        uint256 leaf,
        uint256 epoch,
        uint256 other,
        uint256 side,
        uint256 index,
        uint256 quantityWh
    ) external {
        CHEATS.assume(epoch < 1 << 27);
        uint256 tick;
        (side, tick, quantityWh) = _order(side, index, quantityWh);
        CHEATS.assume(other < 1 << 27 && other != epoch);
        _books[0].words[_leafAt(side, tick)] = leaf;
        _books[0].add(epoch, side, tick, quantityWh);
        assert(_books[0].volumeAt(other, side, tick) == 0);
    }

    /// @notice What an ended epoch left behind is gone with the first order of the next: nothing is added to it.
    function check_add__over_a_stale_word__starts_from_zero(
        uint256 leaf,
        uint256 page,
        uint256 epoch,
        uint256 side,
        uint256 index,
        uint256 quantityWh
    ) external {
        CHEATS.assume(epoch < 1 << 27);
        uint256 tick;
        (side, tick, quantityWh) = _order(side, index, quantityWh);
        CHEATS.assume(leaf >> _TAG_SHIFT != epoch && page >> _TAG_SHIFT != epoch);
        _books[0].words[_leafAt(side, tick)] = leaf;
        _books[0].words[_pageAt(side, tick)] = page;
        _books[0].add(epoch, side, tick, quantityWh);
        assert(_books[0].words[_leafAt(side, tick)] == (epoch << _TAG_SHIFT) | (quantityWh << _leafShift(tick)));
        assert(_books[0].words[_pageAt(side, tick)] == (epoch << _TAG_SHIFT) | (quantityWh << _pageShift(tick)));
    }

    /// @notice A tick that cannot hold an order says so and is as before; one that can holds the sum.
    function check_add__beyond_what_a_tick_holds__changes_nothing(
        uint256 leaf,
        uint256 page,
        uint256 epoch,
        uint256 side,
        uint256 index,
        uint256 quantityWh
    ) external {
        CHEATS.assume(epoch < 1 << 27);
        uint256 tick;
        (side, tick, quantityWh) = _order(side, index, quantityWh);
        CHEATS.assume(leaf >> _TAG_SHIFT == epoch);
        _books[0].words[_leafAt(side, tick)] = leaf;
        _books[0].words[_pageAt(side, tick)] = page;
        uint256 volume = _books[0].volumeAt(epoch, side, tick) + quantityWh;
        uint256 overfull = _books[0].add(epoch, side, tick, quantityWh);
        assert(overfull == (volume < 1 << 38 ? 0 : volume));
        if (overfull == 0) return;
        assert(_books[0].words[_leafAt(side, tick)] == leaf);
        assert(_books[0].words[_pageAt(side, tick)] == page);
    }

    /// @notice Adding volume to live words adds it to one lane of each, and nothing else happens to them.
    function check_add__to_a_live_word__adds_at_its_lane(
        uint256 leaf,
        uint256 page,
        uint256 epoch,
        uint256 side,
        uint256 index,
        uint256 quantityWh
    ) external {
        CHEATS.assume(epoch < 1 << 27);
        uint256 tick;
        (side, tick, quantityWh) = _order(side, index, quantityWh);
        CHEATS.assume(leaf >> _TAG_SHIFT == epoch && page >> _TAG_SHIFT == epoch);
        uint256 inPage = quantityWh << _pageShift(tick);
        // As in any book: a page sums 36 lanes below 2**38, so it never fills its lane and carries nothing upwards.
        CHEATS.assume((page & _LANES_MASK) + inPage <= _LANES_MASK);
        _books[0].words[_leafAt(side, tick)] = leaf;
        _books[0].words[_pageAt(side, tick)] = page;
        CHEATS.assume(_books[0].add(epoch, side, tick, quantityWh) == 0);
        unchecked {
            assert(_books[0].words[_leafAt(side, tick)] == leaf + (quantityWh << _leafShift(tick)));
            assert(_books[0].words[_pageAt(side, tick)] == page + inPage);
        }
    }

    /// @notice Taking volume out subtracts what adding it added: so both together leave every tick as it was.
    function check_remove__undoes_add(
        uint256 leaf,
        uint256 page,
        uint256 side,
        uint256 index,
        uint256 quantityWh
    ) external {
        uint256 tick;
        (side, tick, quantityWh) = _order(side, index, quantityWh);
        unchecked {
            _books[0].words[_leafAt(side, tick)] = leaf + (quantityWh << _leafShift(tick));
            _books[0].words[_pageAt(side, tick)] = page + (quantityWh << _pageShift(tick));
        }
        _books[0].remove(side, tick, quantityWh);
        assert(_books[0].words[_leafAt(side, tick)] == leaf);
        assert(_books[0].words[_pageAt(side, tick)] == page);
    }

    /// @notice Added volume is read at its tick and changes no other tick of its word, whatever the word holds.
    function check_add__leaves_neighbours(
        uint256 leaf,
        uint256 epoch,
        uint256 side,
        uint256 index,
        uint256 other,
        uint256 quantityWh
    ) external {
        CHEATS.assume(epoch < 1 << 27);
        uint256 tick;
        (side, tick, quantityWh) = _order(side, index, quantityWh);
        CHEATS.assume(leaf >> _TAG_SHIFT == epoch);
        CHEATS.assume(other != tick && other > 0 && other <= Book.MAX_TICK && (other - 1) / 6 == (tick - 1) / 6);
        _books[0].words[_leafAt(side, tick)] = leaf;
        uint256 there = _books[0].volumeAt(epoch, side, tick);
        uint256 beside = _books[0].volumeAt(epoch, side, other);
        CHEATS.assume(_books[0].add(epoch, side, tick, quantityWh) == 0);
        assert(_books[0].volumeAt(epoch, side, tick) == there + quantityWh);
        assert(_books[0].volumeAt(epoch, side, other) == beside);
    }

    /// @dev Any order. Bits are cut off rather than assumed to be zero, and ticks counted from zero: the solver divides
    ///      by six, and ten bits are quicker divided than 256.
    function _order(uint256 side, uint256 index, uint256 wh) private pure returns (uint256, uint256, uint256) {
        index &= 1023;
        CHEATS.assume(index < Book.MAX_TICK);
        unchecked {
            return (side & 1, index + 1, wh & ((1 << 24) - 1));
        }
    }

    function _leafAt(uint256 side, uint256 tick) private pure returns (uint256) {
        unchecked {
            return side * 171 + (tick - 1) / 6;
        }
    }

    function _leafShift(uint256 tick) private pure returns (uint256) {
        unchecked {
            return ((tick - 1) % 6) * 38;
        }
    }

    function _pageAt(uint256 side, uint256 tick) private pure returns (uint256) {
        unchecked {
            return 342 + side * 6 + (tick - 1) / 36 / 5;
        }
    }

    function _pageShift(uint256 tick) private pure returns (uint256) {
        unchecked {
            return (((tick - 1) / 36) % 5) * 45;
        }
    }
}
