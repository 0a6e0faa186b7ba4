// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

/// @title Registry: who may trade, and whose meters count
/// @notice Distributors (MEA, PEA) register participants and meters. Nothing personal is stored: a
///         participant is an account, a zone and an opaque reference into the distributor's own records.
///         Registers are in Wh, powers in W, times in Unix seconds.
///
/// How this is stopped: a distributor suspends a participant or revokes a meter; the regulator can take
/// the distributor's role away. Nobody can delete a participant or a meter.
interface IRegistry {
    /// @notice Standing of a participant.
    enum Status {
        Unknown,
        Active,
        Suspended
    }

    /// @notice What a meter stands for.
    enum MeterKind {
        Unknown,
        /// May export: solar, battery.
        Prosumer,
        /// Imports only.
        Consumer
    }

    /// @notice Where a meter's export comes from; certificates by source build on it.
    enum Source {
        None,
        Solar,
        Wind,
        Hydro,
        Battery,
        Other
    }

    /// @notice Curve of a meter's key, so that a gateway knows what to bring with a reading. The key itself is
    ///         named by the address of its public key on either curve, see IMetering.
    enum KeyType {
        Secp256k1,
        /// DLMS/COSEM suite 1.
        P256
    }

    /// @notice Standing of a meter.
    enum MeterStatus {
        Unknown,
        Active,
        Revoked
    }

    /// @notice A participant.
    struct Participant {
        uint40 registeredAt;
        uint8 zone;
        Status status;
        /// Meters ever assigned, revoked ones included.
        uint8 meterCount;
        /// Opaque reference into the distributor's records.
        bytes32 ref;
    }

    /// @notice A meter.
    struct Meter {
        /// Address of the public key whose owner signs its readings.
        address key;
        KeyType keyType;
        MeterStatus status;
        MeterKind kind;
        Source source;
        uint40 assignedAt;
        /// Whose energy it measures.
        address owner;
        /// Power limits in W against which readings are judged.
        uint40 ratedImportW;
        uint40 ratedExportW;
    }

    /// @notice What `assignMeter` is told.
    struct MeterConfig {
        address owner;
        address key;
        KeyType keyType;
        MeterKind kind;
        Source source;
        uint40 ratedImportW;
        uint40 ratedExportW;
        /// Registers on the day the meter joins, Wh: energy before counts for nothing.
        uint64 importWh;
        uint64 exportWh;
    }

    /// @notice A participant joined.
    event UserRegistered(address indexed account, uint8 zone, bytes32 ref);
    /// @notice A participant's standing changed.
    event StatusSet(address indexed account, Status status);
    /// @notice A participant moved to another zone.
    event ZoneMoved(address indexed account, uint8 zone);
    /// @notice A meter joined with these initial registers.
    event MeterAssigned(bytes32 indexed meterId, address indexed owner, MeterConfig config);
    /// @notice A meter was swapped: last registers of the old, first of the new.
    event MeterReplaced(
        bytes32 indexed meterId,
        address oldKey,
        address newKey,
        KeyType newKeyType,
        uint64 finalImportWh,
        uint64 finalExportWh,
        uint64 initialImportWh,
        uint64 initialExportWh
    );
    /// @notice A meter's readings are refused from now on.
    event MeterRevoked(bytes32 indexed meterId);

    /// @notice The zero address is not an account.
    error ZeroAddress();
    /// @notice The account is a participant already.
    error AlreadyRegistered(address account);
    /// @notice The account is not a participant.
    error NotRegistered(address account);
    /// @notice A participant is active or suspended; it cannot become unknown again.
    error InvalidStatus(Status status);
    /// @notice A meter has this id already.
    error MeterExists(bytes32 meterId);
    /// @notice No meter has this id.
    error UnknownMeter(bytes32 meterId);
    /// @notice The meter was revoked.
    error MeterIsRevoked(bytes32 meterId);
    /// @notice A participant has at most 10 meters.
    error TooManyMeters(address owner, uint256 maximum);
    /// @notice A field of the meter's configuration makes no sense; `field` names it.
    error InvalidMeter(bytes32 meterId, string field);
    /// @notice The key signs for another meter.
    error KeyInUse(address key, bytes32 meterId);

    /// @notice Distributor: a participant joins a zone, active.
    /// @param ref Opaque reference into the distributor's records; no personal data.
    function registerUser(address account, uint8 zone, bytes32 ref) external;

    /// @notice Distributor: suspends or reinstates.
    function setStatus(address account, Status status) external;

    /// @notice Distributor: moves a participant; refused by Trading while orders are unsettled.
    function setZone(address account, uint8 zone) external;

    /// @notice Distributor: a meter joins.
    function assignMeter(bytes32 meterId, MeterConfig calldata config) external;

    /// @notice Distributor: another device takes a meter's place. Energy up to the old one's final registers
    ///         is credited, or parked if it is implausible; counting goes on from the new one's.
    function replaceMeter(
        bytes32 meterId,
        address newKey,
        KeyType newKeyType,
        uint64 finalImportWh,
        uint64 finalExportWh,
        uint64 initialImportWh,
        uint64 initialExportWh
    ) external;

    /// @notice Distributor: a meter's readings are refused from now on.
    function revokeMeter(bytes32 meterId) external;

    /// @notice Whether the account is an active participant.
    function isUserVerified(address account) external view returns (bool);

    /// @notice When the account joined; 0 if it never did.
    function registeredAt(address account) external view returns (uint256);

    /// @notice A participant's record; all zero for an unknown account.
    function participantOf(address account) external view returns (Participant memory);

    /// @notice A meter's record; all zero for an unknown id.
    function meterOf(bytes32 meterId) external view returns (Meter memory);

    /// @notice The meter for which a key signs; zero if none.
    function meterOfKey(address key) external view returns (bytes32);

    /// @notice A participant's meters.
    function metersOf(address account) external view returns (bytes32[] memory);

    /// @notice Number of participants.
    function userCount() external view returns (uint256);

    /// @notice Number of meters.
    function meterCount() external view returns (uint256);

    /// @notice A page of participants in order of registration; short or empty at the end.
    function users(uint256 offset, uint256 limit) external view returns (address[] memory);

    /// @notice A page of meters in order of assignment; short or empty at the end.
    function meters(uint256 offset, uint256 limit) external view returns (bytes32[] memory);
}
