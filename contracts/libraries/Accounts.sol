// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

/// @title Account word
/// @notice All that a participant's every action must know, in one storage word.
/// @dev Layout, least significant bit first:
///
///      | bits | field    | unit and meaning                                                          |
///      |------|----------|---------------------------------------------------------------------------|
///      | 75   | money    | free money in money units (half a tick x 1 micro-Wh)                      |
///      | 60   | energy   | free energy in micro-Wh                                                   |
///      | 42   | first    | first order of `epoch`, see OrderCodec                                    |
///      | 27   | epoch    | epoch of the newest orders (255 years of 60 s epochs)                     |
///      | 7    | count    | orders entered in `epoch`, cancelled ones included; 0 = nothing unsettled |
///      | 2    | standing | 0 no order of `epoch` stands longer, 1 one does, 2 all rest               |
///      | 32   | nonce    | lowest nonce a signed message may still use                               |
///      | 2    | status   | 0 unknown, 1 active, 2 suspended; pushed by Registry                      |
///      | 8    | zone     | pushed by Registry                                                        |
///      | 1    | wallet   | account opted in to ERC-1271 signatures                                   |
///
///      75 + 60 + 42 + 27 + 7 + 2 + 32 + 2 + 8 + 1 = 256 bits. Free balances never exceed the market-wide
///      totals, which Trading caps at MAX_MONEY and MAX_ENERGY, so `pack` cannot overflow a field.
///      The word is never deleted: the nonce survives.
library Accounts {
    /// @notice Largest money held market-wide, in money units: 1.9e11 THB at a tick of one satang.
    uint256 internal constant MAX_MONEY = (1 << 75) - 1;
    /// @notice Largest energy held market-wide, in micro-Wh: 1.15 TWh.
    uint256 internal constant MAX_ENERGY = (1 << 60) - 1;

    /// @notice Largest epoch number.
    uint256 internal constant MAX_EPOCH = (1 << 27) - 1;

    /// @notice Registry has not told of this account.
    uint256 internal constant UNKNOWN = 0;
    /// @notice May do everything.
    uint256 internal constant ACTIVE = 1;
    /// @notice May cancel, settle, retire and withdraw, but not deposit or enter orders.
    uint256 internal constant SUSPENDED = 2;

    /// @notice No order of the newest epoch stands longer than that epoch.
    uint256 internal constant NONE = 0;
    /// @notice Orders of the newest epoch were entered to stand longer.
    uint256 internal constant STANDING = 1;
    /// @notice The newest epoch is settled; what is stored is what it left of standing orders: escrowed, in no book.
    uint256 internal constant RESTING = 2;

    uint256 private constant _ENERGY = 75;
    uint256 private constant _FIRST = 135;
    uint256 private constant _EPOCH = 177;
    uint256 private constant _COUNT = 204;
    uint256 private constant _STANDING = 211;
    uint256 private constant _NONCE = 213;
    uint256 private constant _STATUS = 245;
    uint256 private constant _ZONE = 247;
    uint256 private constant _WALLET = 255;

    /// @notice The account word, taken apart.
    struct Account {
        uint256 money;
        uint256 energy;
        uint256 first;
        uint256 epoch;
        uint256 count;
        uint256 standing;
        uint256 nonce;
        uint256 status;
        uint256 zone;
        uint256 wallet;
    }

    /// @notice Takes an account word apart.
    function unpack(uint256 word) internal pure returns (Account memory a) {
        a.money = moneyOf(word);
        a.energy = energyOf(word);
        a.first = firstOf(word);
        a.epoch = epochOf(word);
        a.count = countOf(word);
        a.standing = standingOf(word);
        a.nonce = nonceOf(word);
        a.status = statusOf(word);
        a.zone = zoneOf(word);
        a.wallet = walletOf(word);
    }

    /// @notice Puts an account word together.
    function pack(Account memory a) internal pure returns (uint256 word) {
        word = a.money | (a.energy << _ENERGY) | (a.first << _FIRST) | (a.epoch << _EPOCH);
        word |= (a.count << _COUNT) | (a.standing << _STANDING) | (a.nonce << _NONCE) | (a.status << _STATUS);
        word |= (a.zone << _ZONE) | (a.wallet << _WALLET);
    }

    /// @notice Adds free energy to a packed word, leaving everything else as it is.
    /// @dev Readings are credited this way: neither settlement nor any other field is touched.
    function addEnergy(uint256 word, uint256 energy) internal pure returns (uint256) {
        return word + (energy << _ENERGY);
    }

    // Entering orders works on the word as it is: taking it apart and putting it together costs 500 gas.

    /// @notice Free money.
    function moneyOf(uint256 word) internal pure returns (uint256) {
        return word & MAX_MONEY;
    }

    /// @notice Free energy.
    function energyOf(uint256 word) internal pure returns (uint256) {
        return (word >> _ENERGY) & MAX_ENERGY;
    }

    /// @notice First order of the newest epoch.
    function firstOf(uint256 word) internal pure returns (uint256) {
        return (word >> _FIRST) & ((1 << 42) - 1);
    }

    /// @notice Epoch of the newest orders.
    function epochOf(uint256 word) internal pure returns (uint256) {
        return (word >> _EPOCH) & MAX_EPOCH;
    }

    /// @notice Orders of that epoch that are not settled.
    function countOf(uint256 word) internal pure returns (uint256) {
        return (word >> _COUNT) & 127;
    }

    /// @notice NONE, STANDING or RESTING.
    function standingOf(uint256 word) internal pure returns (uint256) {
        return (word >> _STANDING) & 3;
    }

    /// @notice Lowest nonce a signed message may still use.
    function nonceOf(uint256 word) internal pure returns (uint256) {
        return (word >> _NONCE) & type(uint32).max;
    }

    /// @notice UNKNOWN, ACTIVE or SUSPENDED.
    function statusOf(uint256 word) internal pure returns (uint256) {
        return (word >> _STATUS) & 3;
    }

    /// @notice The account's zone.
    function zoneOf(uint256 word) internal pure returns (uint256) {
        return (word >> _ZONE) & 255;
    }

    /// @notice 1 if the account is a contract that wants to be asked about signatures.
    function walletOf(uint256 word) internal pure returns (uint256) {
        return word >> _WALLET;
    }

    /// @notice 0 if the account is active, in a zone, and without standing orders; otherwise anything else.
    function isNotPlainIn(uint256 word, uint256 zone) internal pure returns (uint256) {
        // Status and zone lie side by side.
        return standingOf(word) | (((word >> _STATUS) & 1023) ^ ((zone << 2) | ACTIVE));
    }

    /// @notice The word after free balances have grown; the sums fit their fields.
    function plus(uint256 word, uint256 energy, uint256 money) internal pure returns (uint256) {
        unchecked {
            return word + (energy << _ENERGY) + money;
        }
    }

    /// @notice The word after free balances have shrunk; there is as much in them.
    function minus(uint256 word, uint256 energy, uint256 money) internal pure returns (uint256) {
        unchecked {
            return word - (energy << _ENERGY) - money;
        }
    }

    /// @notice The word at the beginning of another epoch: without orders.
    function withEpoch(uint256 word, uint256 epoch) internal pure returns (uint256) {
        return (word & ~(((1 << (_NONCE - _FIRST)) - 1) << _FIRST)) | (epoch << _EPOCH);
    }

    /// @notice The word with the first order of its epoch, where there was none.
    function withFirst(uint256 word, uint256 order) internal pure returns (uint256) {
        return word | (order << _FIRST);
    }

    /// @notice The word with more orders counted, 127 in all at most.
    function withMore(uint256 word, uint256 orders) internal pure returns (uint256) {
        unchecked {
            return word + (orders << _COUNT);
        }
    }

    /// @notice The word with one order, the first of another epoch, and another lowest nonce.
    function withOnly(uint256 word, uint256 order, uint256 epoch, uint256 nonce) internal pure returns (uint256) {
        word &= ~(((1 << (_STATUS - _FIRST)) - 1) << _FIRST);
        return word | (order << _FIRST) | (epoch << _EPOCH) | (1 << _COUNT) | (nonce << _NONCE);
    }

    /// @notice The word of an account in whose open epoch an order entered to stand longer.
    function withStanding(uint256 word) internal pure returns (uint256) {
        return word | (STANDING << _STANDING);
    }

    /// @notice The word with another lowest nonce.
    function withNonce(uint256 word, uint256 nonce) internal pure returns (uint256) {
        return (word & ~(uint256(type(uint32).max) << _NONCE)) | (nonce << _NONCE);
    }
}
