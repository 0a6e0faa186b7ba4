// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {Accounts} from "../../contracts/libraries/Accounts.sol";
import {Proof} from "./Proof.sol";

// solhint-disable func-name-mixedcase -- halmos knows a proof by `check_`

/// @title AccountsProof
contract AccountsProof is Proof {
    uint256 private constant _ENERGY_FIELD = ((1 << 60) - 1) << 75;

    /// @notice Every field in its range comes out of the word as it went in: no field reaches into another.
    function check_packThenUnpack__is_identity(Accounts.Account memory a) external pure {
        CHEATS.assume(a.money <= Accounts.MAX_MONEY && a.energy <= Accounts.MAX_ENERGY);
        CHEATS.assume(a.first < 1 << 42 && a.epoch <= Accounts.MAX_EPOCH && a.count < 1 << 7);
        CHEATS.assume(a.nonce < 1 << 32 && a.status < 1 << 2 && a.zone < 1 << 8 && a.wallet < 1 << 1);
        CHEATS.assume(a.standing < 1 << 2);
        Accounts.Account memory b = Accounts.unpack(Accounts.pack(a));
        assert(b.money == a.money && b.energy == a.energy && b.first == a.first);
        assert(b.epoch == a.epoch && b.count == a.count && b.nonce == a.nonce);
        assert(b.status == a.status && b.zone == a.zone && b.wallet == a.wallet && b.standing == a.standing);
    }

    /// @notice The fields fill the word: taken apart and put together it is the same.
    function check_unpackThenPack__is_identity(uint256 word) external pure {
        assert(Accounts.pack(Accounts.unpack(word)) == word);
    }

    /// @notice Credited energy is added, and no bit outside the energy field changes, as long as the market-wide
    ///         cap holds, which Trading.credit checks first.
    function check_addEnergy__touches_energy_alone(uint256 word, uint256 energy) external pure {
        uint256 before = Accounts.unpack(word).energy;
        CHEATS.assume(energy <= Accounts.MAX_ENERGY && before + energy <= Accounts.MAX_ENERGY);
        uint256 credited = Accounts.addEnergy(word, energy);
        assert(Accounts.unpack(credited).energy == before + energy);
        assert((credited ^ word) & ~_ENERGY_FIELD == 0);
    }

    /// @notice What entering does to a word as it is, is what it would do to the word taken apart.
    function check_wordFunctions__are_those_of_the_fields(
        uint256 word,
        uint256 energy,
        uint256 money,
        uint256 epoch,
        uint256 order,
        uint256 added,
        uint256 nonce
    ) external pure {
        CHEATS.assume(epoch <= Accounts.MAX_EPOCH && order < 1 << 42 && nonce < 1 << 32);
        Accounts.Account memory a = Accounts.unpack(word);
        CHEATS.assume(energy <= Accounts.MAX_ENERGY && a.energy + energy <= Accounts.MAX_ENERGY);
        CHEATS.assume(money <= Accounts.MAX_MONEY && a.money + money <= Accounts.MAX_MONEY);
        CHEATS.assume(added < 1 << 7);

        uint256 grown = Accounts.plus(word, energy, money);
        assert(Accounts.minus(grown, energy, money) == word);
        (a.energy, a.money) = (a.energy + energy, a.money + money);
        assert(grown == Accounts.pack(a));

        uint256 entered = Accounts.withMore(Accounts.withFirst(Accounts.withEpoch(grown, epoch), order), added);
        (a.epoch, a.first, a.count, a.standing) = (epoch, order, added, Accounts.NONE);
        assert(entered == Accounts.pack(a));

        entered = Accounts.withStanding(entered);
        a.standing = Accounts.STANDING;
        assert(entered == Accounts.pack(a));

        a.nonce = nonce;
        assert(Accounts.withNonce(entered, nonce) == Accounts.pack(a));
    }
}
