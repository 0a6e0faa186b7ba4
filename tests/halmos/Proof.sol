// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

/// @notice The one cheat code that the proofs use; halmos and forge answer it.
interface ICheats {
    /// @notice Leaves the paths on which `condition` is false out of the proof.
    function assume(bool condition) external pure;
}

/// @title Proof
/// @notice What the proofs share. A function whose name begins with `check_` is proved for all its arguments that
///         pass its assumptions: `assert` holds, and the code proved is the compiler's output, not the source.
abstract contract Proof {
    ICheats internal constant CHEATS = ICheats(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);
}
