// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {AccessManager} from "@openzeppelin/contracts/access/manager/AccessManager.sol";

/// @title Authority
/// @notice Who may do what: OpenZeppelin's AccessManager, unchanged. The roles are listed in
///         docs/security.md and set by the deployment.
contract Authority is AccessManager {
    /// @param regulator The first administrator.
    constructor(address regulator) AccessManager(regulator) {}
}
