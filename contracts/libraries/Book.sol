// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

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
    uint256 private constant _PAGES = 29;

    /// @notice Volume at one tick would pass 2**38 Wh (275 GWh): enter at another tick.
    error TickFull(uint256 side, uint256 tick, uint256 volumeWh);

    /// @notice Storage of one zone's book; index 0 bids, index 1 asks.
    struct State {
        uint256[171][2] leaves;
        uint256[6][2] pages;
    }

    /// @notice Adds an order's volume.
    /// @param epoch Epoch the order belongs to, which must be the book's newest.
    function add(State storage book, uint256 epoch, uint256 side, uint256 tick, uint256 quantityWh) internal {
        unchecked {
            uint256 index = tick - 1;
            uint256 slot = index / _LEAF_LANES;
            uint256 shift = (index % _LEAF_LANES) * _LEAF_BITS;
            uint256 word = _fresh(book.leaves[side][slot], epoch);
            uint256 volume = ((word >> shift) & _LEAF_MASK) + quantityWh;
            if (volume > _LEAF_MASK) revert TickFull(side, tick, volume);
            book.leaves[side][slot] = (epoch << _TAG_SHIFT) | (word + (quantityWh << shift));

            // A page sums 36 leaf lanes below 2**38, so it stays below 2**44: no check needed.
            uint256 page = index / _PAGE_TICKS;
            slot = page / _PAGE_LANES;
            shift = (page % _PAGE_LANES) * _PAGE_BITS;
            word = _fresh(book.pages[side][slot], epoch);
            book.pages[side][slot] = (epoch << _TAG_SHIFT) | (word + (quantityWh << shift));
        }
    }

    /// @notice Takes an order's volume out again.
    /// @dev Only for volume that `add` put in during the same epoch, so both words are live and no lane borrows.
    function remove(State storage book, uint256 side, uint256 tick, uint256 quantityWh) internal {
        unchecked {
            uint256 index = tick - 1;
            book.leaves[side][index / _LEAF_LANES] -= quantityWh << ((index % _LEAF_LANES) * _LEAF_BITS);
            uint256 page = index / _PAGE_TICKS;
            book.pages[side][page / _PAGE_LANES] -= quantityWh << ((page % _PAGE_LANES) * _PAGE_BITS);
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
            uint256 word = _fresh(book.leaves[side][index / _LEAF_LANES], epoch);
            return (word >> ((index % _LEAF_LANES) * _LEAF_BITS)) & _LEAF_MASK;
        }
    }

    /// @notice Runs the uniform-price auction over the book of `epoch`.
    /// @dev With D(>p), D(>=p) the bid volume above, at least p and S(<=p), S(<p) the ask volume likewise:
    ///      lower a = lowest p with D(>p) <= S(<=p), upper b = highest p with S(<p) <= D(>=p). As S(<p+1) is
    ///      S(<=p), b is one above the last p with D(>p) >= S(<=p): the next tick above a that holds volume
    ///      if both are equal at a, otherwise a itself. See docs/protocol.md, "The auction".
    function clear(State storage book, uint256 epoch) internal view returns (Clearing.Result memory r) {
        unchecked {
            (uint256[_PAGES] memory bids, uint256 above) = _pageSums(book, epoch, OrderCodec.BID);
            (uint256[_PAGES] memory asks, uint256 total) = _pageSums(book, epoch, OrderCodec.ASK);
            if (above == 0 || total == 0) return r;

            // The page that holds a. `above` is D(>p), `below` is S(<=p), p the last tick passed.
            uint256 below = 0;
            uint256 page = 0;
            while (above - bids[page] > below + asks[page]) {
                above -= bids[page];
                below += asks[page];
                ++page;
            }

            // The tick. D(>p) falls to 0 at the last page, so both loops end.
            uint256 index = page * _PAGE_TICKS;
            uint256 bidWord = 0;
            uint256 askWord = 0;
            uint256 bid;
            uint256 ask;
            while (true) {
                if (index % _LEAF_LANES == 0) {
                    bidWord = _fresh(book.leaves[OrderCodec.BID][index / _LEAF_LANES], epoch);
                    askWord = _fresh(book.leaves[OrderCodec.ASK][index / _LEAF_LANES], epoch);
                }
                bid = bidWord & _LEAF_MASK;
                ask = askWord & _LEAF_MASK;
                if (above - bid <= below + ask) break;
                above -= bid;
                below += ask;
                bidWord >>= _LEAF_BITS;
                askWord >>= _LEAF_BITS;
                ++index;
            }

            // Here above is D(>=a), below is S(<a), bid and ask the volumes at a.
            r.volumeWh = above < below + ask ? above : below + ask;
            if (r.volumeWh == 0) return r;
            r.lower = index + 1;
            r.upper = r.lower;
            if (above - bid == below + ask) {
                r.upper = _nextOccupied(book, epoch, bids, asks, index + 1) + 1;
            } else if (above > below + ask) {
                r.longSide = Clearing.BIDS;
                r.filledWh = below + ask - (above - bid);
                r.offeredWh = bid;
            } else if (above < below + ask) {
                r.longSide = Clearing.ASKS;
                r.filledWh = above - below;
                r.offeredWh = ask;
            }
        }
    }

    /// @dev First index from `index` on with volume on either side. There is one: with D(>a) = S(<=a) = V > 0
    ///      the bids above a are still to come.
    function _nextOccupied(
        State storage book,
        uint256 epoch,
        uint256[_PAGES] memory bids,
        uint256[_PAGES] memory asks,
        uint256 index
    ) private view returns (uint256) {
        unchecked {
            while (true) {
                uint256 page = index / _PAGE_TICKS;
                if (bids[page] | asks[page] == 0) {
                    index = (page + 1) * _PAGE_TICKS;
                    continue;
                }
                uint256 slot = index / _LEAF_LANES;
                uint256 word = _fresh(book.leaves[OrderCodec.BID][slot], epoch) |
                    _fresh(book.leaves[OrderCodec.ASK][slot], epoch);
                word >>= (index % _LEAF_LANES) * _LEAF_BITS;
                if (word == 0) {
                    index = (slot + 1) * _LEAF_LANES;
                    continue;
                }
                while (word & _LEAF_MASK == 0) {
                    word >>= _LEAF_BITS;
                    ++index;
                }
                return index;
            }
            return index;
        }
    }

    function _pageSums(
        State storage book,
        uint256 epoch,
        uint256 side
    ) private view returns (uint256[_PAGES] memory sums, uint256 total) {
        unchecked {
            uint256 word = 0;
            for (uint256 page = 0; page < _PAGES; ++page) {
                if (page % _PAGE_LANES == 0) word = _fresh(book.pages[side][page / _PAGE_LANES], epoch);
                uint256 sum = word & _PAGE_MASK;
                sums[page] = sum;
                total += sum;
                word >>= _PAGE_BITS;
            }
        }
    }

    /// @dev The lanes of a word if it belongs to `epoch`, otherwise zero.
    function _fresh(uint256 word, uint256 epoch) private pure returns (uint256) {
        return word >> _TAG_SHIFT == epoch ? word & _LANES_MASK : 0;
    }
}
