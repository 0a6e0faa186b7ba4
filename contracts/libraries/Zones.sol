// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

/// @title Zone word
/// @notice What every action in a zone must know, in one storage word: how far its epochs are, and the newest
///         result, so that whoever traded in the last epoch is settled without reading another word.
/// @dev Layout, least significant bit first:
///
///      | bits | field        | meaning                                                                 |
///      |------|--------------|-------------------------------------------------------------------------|
///      | 148  | result       | of `resultEpoch`, see Clearing; 0 if nothing traded                     |
///      | 27   | resultEpoch  | newest epoch that was cleared                                           |
///      | 27   | epoch        | newest epoch that has orders                                            |
///      | 24   | counted      | orders of `epoch` beyond each participant's first                       |
///      | 24   | orderCap     | cap on `counted`; 0 = none                                              |
///      | 1    | open         | the regulator opened the zone                                           |
///      | 1    | paused       | no new orders                                                           |
///      | 1    | cleared      | `epoch` has been cleared                                                |
///
///      148 + 27 + 27 + 24 + 24 + 1 + 1 + 1 = 253 bits.
library Zones {
    /// @notice Largest cap, and where `counted` stops counting in a zone without one.
    uint256 internal constant MAX_COUNT = (1 << 24) - 1;

    uint256 private constant _RESULT_EPOCH = 148;
    uint256 private constant _EPOCH = 175;
    uint256 private constant _COUNTED = 202;
    uint256 private constant _CAP = 226;
    uint256 private constant _OPEN = 250;
    uint256 private constant _PAUSED = 251;
    uint256 private constant _CLEARED = 252;

    /// @notice The zone word, taken apart.
    struct Zone {
        uint256 result;
        uint256 resultEpoch;
        uint256 epoch;
        uint256 counted;
        uint256 orderCap;
        bool open;
        bool paused;
        bool cleared;
    }

    /// @notice Takes a zone word apart.
    function unpack(uint256 word) internal pure returns (Zone memory zone) {
        zone.result = word & ((1 << 148) - 1);
        zone.resultEpoch = (word >> _RESULT_EPOCH) & ((1 << 27) - 1);
        zone.epoch = (word >> _EPOCH) & ((1 << 27) - 1);
        zone.counted = (word >> _COUNTED) & MAX_COUNT;
        zone.orderCap = (word >> _CAP) & MAX_COUNT;
        zone.open = (word >> _OPEN) & 1 == 1;
        zone.paused = (word >> _PAUSED) & 1 == 1;
        zone.cleared = (word >> _CLEARED) & 1 == 1;
    }

    /// @notice Puts a zone word together.
    function pack(Zone memory zone) internal pure returns (uint256 word) {
        word = zone.result | (zone.resultEpoch << _RESULT_EPOCH) | (zone.epoch << _EPOCH);
        word |= (zone.counted << _COUNTED) | (zone.orderCap << _CAP);
        word |= (_bit(zone.open) << _OPEN) | (_bit(zone.paused) << _PAUSED) | (_bit(zone.cleared) << _CLEARED);
    }

    /// @notice Whether the zone's newest epoch has ended and waits to be cleared.
    function isDue(Zone memory zone, uint256 currentEpoch) internal pure returns (bool) {
        return zone.open && !zone.cleared && zone.epoch < currentEpoch;
    }

    function _bit(bool value) private pure returns (uint256) {
        return value ? 1 : 0;
    }
}
