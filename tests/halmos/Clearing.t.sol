// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {Clearing} from "../../contracts/libraries/Clearing.sol";
import {Proof} from "./Proof.sol";

// Halmos knows a proof by `check_`.
// solhint-disable func-name-mixedcase

/// @title ClearingProof
/// @notice A result in its word.
contract ClearingProof is Proof {
    /// @notice A result comes out of its word as it went in; one without volume is the zero word.
    function check_packThenUnpack__is_identity(Clearing.Result memory r) external pure {
        CHEATS.assume(r.lower < 1 << 10 && r.upper < 1 << 10 && r.longSide < 1 << 2);
        CHEATS.assume(r.filledWh < 1 << 38 && r.offeredWh < 1 << 38 && r.volumeWh < 1 << 50);
        uint256 word = Clearing.pack(r);
        if (r.volumeWh == 0) {
            assert(word == 0);
        } else {
            Clearing.Result memory s = Clearing.unpack(word);
            assert(s.lower == r.lower && s.upper == r.upper && s.longSide == r.longSide);
            assert(s.filledWh == r.filledWh && s.offeredWh == r.offeredWh && s.volumeWh == r.volumeWh);
        }
    }
}
