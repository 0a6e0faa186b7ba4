// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {StorageSlot} from "@openzeppelin/contracts/utils/StorageSlot.sol";

import {Clearing} from "./Clearing.sol";
import {OrderCodec} from "./OrderCodec.sol";

/// @title Book
/// @notice One zone's open orders as volume per side and tick, and the auction over them.
/// @dev The book never sees an order, only volumes, so clearing costs the same for ten orders and for
///      100,000. Two levels: leaf words hold six ticks of 38 bits, page words hold the sums of five pages
///      of 45 bits, a page being 36 ticks (six leaf words). Each word carries in its top bits the epoch it
///      belongs to (27 bits from bit 228): a word of another epoch reads as zero, so words are used again
///      epoch after epoch and nothing is ever swept.
///
///      1,023 ticks -> 171 leaf words and 29 pages in 6 words, a side. Adding or taking volume touches one
///      leaf word and one page word. Clearing reads at most 12 page words and, for each of the two ends of
///      the equilibrium interval, 12 leaf words: 36 words.
library Book {
    /// @notice Highest tick. Tick 0 is forbidden: a bid there would escrow nothing.
    uint256 internal constant MAX_TICK = 1023;

    uint256 private constant _TAG_SHIFT = 228;
    uint256 private constant _LANES_MASK = (1 << _TAG_SHIFT) - 1;
    uint256 private constant _LEAF_LANES = 6;
    uint256 private constant _LEAF_BITS = 38;
    uint256 private constant _LEAF_MASK = (1 << _LEAF_BITS) - 1;
    uint256 private constant _PAGE_TICKS = 36;
    uint256 private constant _PAGE_LANES = 5;
    uint256 private constant _PAGE_BITS = 45;
    uint256 private constant _PAGE_MASK = (1 << _PAGE_BITS) - 1;
    /// @dev Leaf words in a page.
    uint256 private constant _PAGE_WORDS_OF_LEAVES = 6;
    /// @dev Every other lane.
    uint256 private constant _LEAF_EVEN =
        _LEAF_MASK | (_LEAF_MASK << (2 * _LEAF_BITS)) | (_LEAF_MASK << (4 * _LEAF_BITS));
    uint256 private constant _PAGE_EVEN =
        _PAGE_MASK | (_PAGE_MASK << (2 * _PAGE_BITS)) | (_PAGE_MASK << (4 * _PAGE_BITS));

    uint256 private constant _LEAF_WORDS = 171;
    uint256 private constant _PAGE_WORDS = 6;

    /// @notice Storage of one zone's book: the leaf words of the bids, of the asks, then the page words
    ///         likewise. Reached through `_leaf` and `_page`, which spare the bounds checks: 1,100 gas an order.
    struct State {
        uint256[2 * _LEAF_WORDS + 2 * _PAGE_WORDS] words;
    }

    /// @notice Where a book lies, for who uses it again and again.
    function slotOf(State storage book) internal pure returns (uint256) {
        return _base(book);
    }

    /// @notice The book that lies at `slot_`.
    function at(uint256 slot_) internal pure returns (State storage book) {
        assembly ("memory-safe") {
            book.slot := slot_
        }
    }

    /// @notice Adds an order's volume.
    /// @param epoch Epoch the order belongs to, which must be the book's newest.
    /// @return overfull 0, or the volume that would pass 2**38 Wh (275 GWh) at this tick: then nothing was added.
    function add(
        State storage book,
        uint256 epoch,
        uint256 side,
        uint256 tick,
        uint256 quantityWh
    ) internal returns (uint256 overfull) {
        unchecked {
            uint256 index = tick - 1;
            // slither-disable-start divide-before-multiply -- remainders
            uint256 leaf = index / _LEAF_LANES;
            uint256 shift = (index - leaf * _LEAF_LANES) * _LEAF_BITS;
            uint256 slot = _base(book) + side * _LEAF_WORDS + leaf;
            uint256 word = _load(slot);
            if (word >> _TAG_SHIFT != epoch) word = epoch << _TAG_SHIFT;
            uint256 volume = ((word >> shift) & _LEAF_MASK) + quantityWh;
            if (volume > _LEAF_MASK) return volume;
            _store(slot, word + (quantityWh << shift));

            // A page sums 36 leaf lanes below 2**38, so it stays below 2**44: no check needed.
            index = leaf / _PAGE_WORDS_OF_LEAVES;
            leaf = index / _PAGE_LANES;
            shift = (index - leaf * _PAGE_LANES) * _PAGE_BITS;
            // slither-disable-end divide-before-multiply
            slot = _base(book) + 2 * _LEAF_WORDS + side * _PAGE_WORDS + leaf;
            word = _load(slot);
            if (word >> _TAG_SHIFT != epoch) word = epoch << _TAG_SHIFT;
            _store(slot, word + (quantityWh << shift));
        }
    }

    /// @notice Takes an order's volume out again.
    /// @dev Only for volume that `add` put in during the same epoch, so both words are live and no lane borrows.
    function remove(State storage book, uint256 side, uint256 tick, uint256 quantityWh) internal {
        unchecked {
            uint256 index = tick - 1;
            uint256 page = index / _PAGE_TICKS;
            _leaf(book, side, index / _LEAF_LANES).value -= quantityWh << ((index % _LEAF_LANES) * _LEAF_BITS);
            _page(book, side, page / _PAGE_LANES).value -= quantityWh << ((page % _PAGE_LANES) * _PAGE_BITS);
        }
    }

    /// @notice Volume of one side and tick in Wh.
    function volumeAt(
        State storage book,
        uint256 epoch,
        uint256 side,
        uint256 tick
    ) internal view returns (uint256 volumeWh) {
        unchecked {
            uint256 index = tick - 1;
            uint256 word = _fresh(_leaf(book, side, index / _LEAF_LANES).value, epoch);
            return (word >> ((index % _LEAF_LANES) * _LEAF_BITS)) & _LEAF_MASK;
        }
    }

    /// @notice Runs the uniform-price auction over the book of `epoch`.
    /// @dev With D(>p), D(>=p) the bid volume above, at least p and S(<=p), S(<p) the ask volume likewise:
    ///      lower a = lowest p with D(>p) <= S(<=p), upper b = highest p with S(<p) <= D(>=p). As S(<p+1) is
    ///      S(<=p), b is one above the last p with D(>p) >= S(<=p): the next tick above a that holds volume
    ///      if both are equal at a, otherwise a itself. See docs/protocol.md, "The auction".
    ///
    ///      a is approached in four strides: words of pages, pages, leaf words, ticks. At each the walk goes
    ///      on while D above what it would pass is still more than S up to there.
    function clear(State storage book, uint256 epoch) internal view returns (Clearing.Result memory r) {
        // slither-disable-next-line uninitialized-local -- memory starts at zero, as the walk does
        Walk memory w;
        unchecked {
            uint256 asks = 0;
            for (uint256 i = 0; i < _PAGE_WORDS; ++i) {
                w.above += _sumOfPages(w.bidPages[i] = _fresh(_page(book, OrderCodec.BID, i).value, epoch));
                asks += _sumOfPages(w.askPages[i] = _fresh(_page(book, OrderCodec.ASK, i).value, epoch));
            }
            if (w.above == 0 || asks == 0) return r;

            // All loops end: D(>p) is 0 at the last tick.
            uint256 index = 0;
            while (_pass(w, _sumOfPages(w.bidPages[index]), _sumOfPages(w.askPages[index]))) ++index;
            (w.bids, w.asks) = (w.bidPages[index], w.askPages[index]);
            index = index * _PAGE_LANES + _passLanes(w, _PAGE_BITS);
            uint256 bidsInPage = w.bids & _PAGE_MASK;
            uint256 asksInPage = w.asks & _PAGE_MASK;

            index *= _PAGE_WORDS_OF_LEAVES;
            _readLeaves(book, epoch, w, index, bidsInPage, asksInPage);
            while (_pass(w, _sumOfLeaf(w.bids), _sumOfLeaf(w.asks))) {
                ++index;
                _readLeaves(book, epoch, w, index, bidsInPage, asksInPage);
            }
            index = index * _LEAF_LANES + _passLanes(w, _LEAF_BITS);

            // Here above is D(>=a), below is S(<a), bid and ask the volumes at a.
            uint256 bid = w.bids & _LEAF_MASK;
            uint256 ask = w.asks & _LEAF_MASK;
            uint256 supply = w.below + ask;
            r.volumeWh = w.above < supply ? w.above : supply;
            if (r.volumeWh == 0) return r;
            r.lower = index + 1;
            r.upper = r.lower;
            if (w.above - bid == supply) {
                r.upper = _nextOccupied(book, epoch, w, index) + 1;
            } else if (w.above > supply) {
                r.longSide = Clearing.BIDS;
                r.filledWh = supply - (w.above - bid);
                r.offeredWh = bid;
            } else if (w.above < supply) {
                r.longSide = Clearing.ASKS;
                r.filledWh = w.above - w.below;
                r.offeredWh = ask;
            }
        }
    }

    /// @dev Where a walk through the book stands.
    struct Walk {
        /// Bid volume not passed yet: D(>p) with p the last tick passed.
        uint256 above;
        /// Ask volume passed: S(<=p).
        uint256 below;
        /// The words under the walk, their lanes shifted so that the next one is lowest.
        uint256 bids;
        uint256 asks;
        uint256[_PAGE_WORDS] bidPages;
        uint256[_PAGE_WORDS] askPages;
    }

    /// @dev Passes a stretch with these volumes unless a lies in it.
    function _pass(Walk memory w, uint256 bid, uint256 ask) private pure returns (bool) {
        unchecked {
            if (w.above - bid <= w.below + ask) return false;
            w.above -= bid;
            w.below += ask;
            return true;
        }
    }

    /// @dev Passes lanes of the words under the walk up to the one in which a lies, and counts them.
    function _passLanes(Walk memory w, uint256 bits) private pure returns (uint256 lanes) {
        unchecked {
            (uint256 above, uint256 below, uint256 bids, uint256 asks) = (w.above, w.below, w.bids, w.asks);
            uint256 mask = (1 << bits) - 1;
            while (above - (bids & mask) > below + (asks & mask)) {
                above -= bids & mask;
                below += asks & mask;
                bids >>= bits;
                asks >>= bits;
                ++lanes;
            }
            (w.above, w.below, w.bids, w.asks) = (above, below, bids, asks);
        }
    }

    /// @dev Puts a pair of leaf words under the walk; a side without volume in their page is not read.
    function _readLeaves(
        State storage book,
        uint256 epoch,
        Walk memory w,
        uint256 index,
        uint256 bidsInPage,
        uint256 asksInPage
    ) private view {
        w.bids = bidsInPage == 0 ? 0 : _fresh(_leaf(book, OrderCodec.BID, index).value, epoch);
        w.asks = asksInPage == 0 ? 0 : _fresh(_leaf(book, OrderCodec.ASK, index).value, epoch);
    }

    /// @dev First index after `index`, the walk's, with volume on either side. There is one: with
    ///      D(>a) = S(<=a) = V > 0 the bids above a are still to come.
    function _nextOccupied(
        State storage book,
        uint256 epoch,
        Walk memory w,
        uint256 index
    ) private view returns (uint256) {
        unchecked {
            ++index;
            uint256 volumes = (w.bids | w.asks) >> _LEAF_BITS;
            while (volumes == 0) {
                // The next leaf word, or the first one of the next page that has volume.
                // slither-disable-next-line divide-before-multiply -- indices: the start of the next leaf word
                index = (index + _LEAF_LANES - 1) / _LEAF_LANES;
                uint256 page = index / _PAGE_WORDS_OF_LEAVES;
                uint256 shift = (page % _PAGE_LANES) * _PAGE_BITS;
                uint256 bidsInPage = (w.bidPages[page / _PAGE_LANES] >> shift) & _PAGE_MASK;
                uint256 asksInPage = (w.askPages[page / _PAGE_LANES] >> shift) & _PAGE_MASK;
                if (bidsInPage | asksInPage == 0) {
                    index = (page + 1) * _PAGE_TICKS;
                    continue;
                }
                _readLeaves(book, epoch, w, index, bidsInPage, asksInPage);
                volumes = w.bids | w.asks;
                index = volumes == 0 ? (index + 1) * _LEAF_LANES : index * _LEAF_LANES;
            }
            while (volumes & _LEAF_MASK == 0) {
                volumes >>= _LEAF_BITS;
                ++index;
            }
            return index;
        }
    }

    /// @dev Sum of the six lanes of a leaf word: neighbours are added into lanes of twice the width first,
    ///      where nothing overflows.
    function _sumOfLeaf(uint256 word) private pure returns (uint256) {
        unchecked {
            uint256 pairs = (word & _LEAF_EVEN) + ((word >> _LEAF_BITS) & _LEAF_EVEN);
            return (pairs + (pairs >> (2 * _LEAF_BITS)) + (pairs >> (4 * _LEAF_BITS))) & ((1 << (2 * _LEAF_BITS)) - 1);
        }
    }

    /// @dev Sum of the five lanes of a page word, likewise.
    function _sumOfPages(uint256 word) private pure returns (uint256) {
        unchecked {
            uint256 pairs = (word & _PAGE_EVEN) + ((word >> _PAGE_BITS) & _PAGE_EVEN);
            return (pairs + (pairs >> (2 * _PAGE_BITS)) + (pairs >> (4 * _PAGE_BITS))) & ((1 << (2 * _PAGE_BITS)) - 1);
        }
    }

    /// @dev Leaf word of a side; `index` is below _LEAF_WORDS because ticks are at most 1023.
    function _leaf(
        State storage book,
        uint256 side,
        uint256 index
    ) private pure returns (StorageSlot.Uint256Slot storage) {
        unchecked {
            return StorageSlot.getUint256Slot(bytes32(_base(book) + side * _LEAF_WORDS + index));
        }
    }

    /// @dev Page word of a side; `index` is below _PAGE_WORDS.
    function _page(
        State storage book,
        uint256 side,
        uint256 index
    ) private pure returns (StorageSlot.Uint256Slot storage) {
        unchecked {
            return StorageSlot.getUint256Slot(bytes32(_base(book) + 2 * _LEAF_WORDS + side * _PAGE_WORDS + index));
        }
    }

    function _load(uint256 slot) private view returns (uint256 word) {
        assembly ("memory-safe") {
            word := sload(slot)
        }
    }

    function _store(uint256 slot, uint256 word) private {
        assembly ("memory-safe") {
            sstore(slot, word)
        }
    }

    function _base(State storage book) private pure returns (uint256 slot) {
        assembly ("memory-safe") {
            slot := book.slot
        }
    }

    /// @dev The lanes of a word if it belongs to `epoch`, otherwise zero.
    function _fresh(uint256 word, uint256 epoch) private pure returns (uint256) {
        return word >> _TAG_SHIFT == epoch ? word & _LANES_MASK : 0;
    }
}
