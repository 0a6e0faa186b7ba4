// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

/// @title Import ledger
/// @notice What a participant imported and has not retired, in one storage word.
/// @dev Layout, least significant bit first; energies in Wh (2**56 Wh = 72,000 TWh, so no sum overflows):
///
///      | bits | field        | meaning                                                     |
///      |------|--------------|-------------------------------------------------------------|
///      | 56   | current      | accepted in `period`, not retired                           |
///      | 56   | previous     | accepted in the period before, not retired                  |
///      | 64   | gridImport   | grid import for good, since the beginning                   |
///      | 32   | period       | period in which the word was last written                   |
///      | 1    | manualRetire | keepers must not retire for this account                    |
///
///      56 + 56 + 64 + 32 + 1 = 209 bits.
library Imports {
    uint256 private constant _PREVIOUS = 56;
    uint256 private constant _GRID = 112;
    uint256 private constant _PERIOD = 176;
    uint256 private constant _MANUAL = 208;

    /// @notice The ledger word, taken apart.
    struct Ledger {
        uint256 current;
        uint256 previous;
        uint256 gridImport;
        uint256 period;
        bool manualRetire;
    }

    /// @notice An amount that the ledger cannot hold: no meter measures so much.
    error ImportOverflow(uint256 energyWh);

    /// @notice Takes a ledger word apart.
    function unpack(uint256 word) internal pure returns (Ledger memory ledger) {
        ledger.current = word & type(uint56).max;
        ledger.previous = (word >> _PREVIOUS) & type(uint56).max;
        ledger.gridImport = (word >> _GRID) & type(uint64).max;
        ledger.period = (word >> _PERIOD) & type(uint32).max;
        ledger.manualRetire = (word >> _MANUAL) & 1 == 1;
    }

    /// @notice Puts a ledger word together.
    function pack(Ledger memory ledger) internal pure returns (uint256 word) {
        if (ledger.current > type(uint56).max) revert ImportOverflow(ledger.current);
        word =
            ledger.current |
            (ledger.previous << _PREVIOUS) |
            (ledger.gridImport << _GRID) |
            (ledger.period << _PERIOD);
        if (ledger.manualRetire) word |= 1 << _MANUAL;
    }

    /// @notice The word after import of the present period: what every reading does, so the common case, in
    ///         which the word is of this period already and nothing lapses, is one addition.
    /// @param word Ledger word.
    /// @param energyWh Import to owe, below 2**56.
    /// @param period The present period.
    /// @param inGrace Whether import of the period before can still be retired.
    function owe(uint256 word, uint256 energyWh, uint256 period, bool inGrace) internal pure returns (uint256) {
        unchecked {
            bool lapses = !inGrace && (word >> _PREVIOUS) & type(uint56).max != 0;
            uint256 current = (word & type(uint56).max) + energyWh;
            if ((word >> _PERIOD) & type(uint32).max == period && !lapses && current <= type(uint56).max) {
                return word + energyWh;
            }
        }
        Ledger memory ledger = unpack(word);
        advance(ledger, period, inGrace);
        ledger.current += energyWh;
        return pack(ledger);
    }

    /// @notice What GRID can still be retired against.
    function outstanding(Ledger memory ledger) internal pure returns (uint256) {
        return ledger.previous + ledger.current;
    }

    /// @notice Brings the ledger to a period: what can no longer be retired becomes grid import.
    /// @param period The present period, not before the ledger's own.
    /// @param inGrace Whether import of the period before can still be retired.
    function advance(Ledger memory ledger, uint256 period, bool inGrace) internal pure {
        unchecked {
            // Sums of fields below 2**56; gridImport would take a city centuries to fill.
            if (period != ledger.period) {
                ledger.gridImport += ledger.previous;
                ledger.previous = ledger.current;
                ledger.current = 0;
                if (period > ledger.period + 1) {
                    ledger.gridImport += ledger.previous;
                    ledger.previous = 0;
                }
                ledger.period = period;
            }
            if (!inGrace) {
                ledger.gridImport += ledger.previous;
                ledger.previous = 0;
            }
        }
    }
}
