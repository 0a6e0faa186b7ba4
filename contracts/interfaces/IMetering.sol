// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

/// @title Metering: from signed register readings to GRID and to the import ledger
/// @notice A meter signs its cumulative registers; the growth of the export register (OBIS 2.8.0) is minted
///         as GRID into the owner's trading account, the growth of the import register (OBIS 1.8.0) is owed
///         by the owner until GRID is retired against it or it becomes grid import.
///
/// Units: registers and energies in Wh, powers in W, times in Unix seconds. A settlement period is 96
/// epochs; a reading counts for the period in which it is accepted.
///
/// What one must know
/// - A meter signs with a secp256k1 or a P-256 key. A key is named by its address either way: the lowest 20
///   bytes of the Keccak hash of the public key's 64 bytes.
/// - Registers and time only grow. A reading that was lost is made good by the next one; a duplicate, a
///   late one or one out of order changes nothing.
/// - Readings of a device that was replaced, dated before that, are recorded for 7 days and mint and owe
///   nothing: its final registers held their energy.
/// - Growth above rated power x elapsed time x 1.1 is parked: nothing is minted or owed until a distributor
///   releases it, but the register's baseline advances, so that waiting cannot smuggle it in.
/// - Import of the previous period can be retired until 4 epochs into the current one. What is left then
///   is grid import at the retail tariff, whoever touches it when.
///
/// How this is stopped: the minter role is withdrawn, or a meter revoked. Retiring from the trading account
/// stops only if the regulator takes Metering's own role away; from the wallet nobody can stop it.
interface IMetering {
    /// @notice A reading with the meter's signature, 64 bytes: r and s, s in the lower half; for secp256k1 with
    ///         the parity in the highest bit of the second word (EIP-2098).
    struct SignedReading {
        bytes32 meterId;
        /// End of the interval, Unix seconds.
        uint64 intervalEnd;
        /// Cumulative import register in Wh.
        uint64 importWh;
        /// Cumulative export register in Wh.
        uint64 exportWh;
        bytes32 r;
        bytes32 vs;
    }

    /// @notice A P-256 public key, a point of the curve.
    struct P256Key {
        bytes32 x;
        bytes32 y;
    }

    /// @notice Newest accepted reading of a meter.
    struct Register {
        /// End of the newest accepted interval, Unix seconds.
        uint64 intervalEnd;
        uint64 importWh;
        uint64 exportWh;
    }

    /// @notice A participant's import as of now, Wh.
    struct ImportView {
        /// Period of the chain's present epoch.
        uint32 period;
        /// Accepted in this period and not retired.
        uint64 currentWh;
        /// Accepted in the last period, not retired, and still open to be.
        uint64 previousWh;
        /// Grid import for good, since the beginning.
        uint64 gridImportWh;
        /// Whether keepers may retire for this account.
        bool autoRetire;
    }

    /// @notice Growth that waits for a distributor.
    struct Parked {
        bytes32 meterId;
        address owner;
        uint64 importWh;
        uint64 exportWh;
        ParkedStatus status;
    }

    /// @notice What became of parked growth.
    enum ParkedStatus {
        None,
        Waiting,
        Released,
        Rejected
    }

    /// @notice Why a reading was skipped.
    enum SkipReason {
        None,
        /// No meter has this id.
        UnknownMeter,
        /// The meter was revoked.
        RevokedMeter,
        /// Ends in the chain's future.
        InFuture,
        /// Not newer than the newest accepted one: a duplicate, or out of order.
        NotNewer,
        /// A register went back.
        RegisterWentBack,
        /// Not signed by the meter's key.
        BadSignature,
        /// A register above 2**48 Wh (281 TWh): no meter shows that.
        OutOfRange,
        /// Of a replaced device, more than 7 days after the replacement.
        TooLate,
        /// Of a replaced device, above its final registers.
        AboveFinalRegister
    }

    /// @notice A reading was accepted; both are registers. Growth is the difference to the one before.
    event ReadingAccepted(bytes32 indexed meterId, uint64 intervalEnd, uint64 importWh, uint64 exportWh);
    /// @notice A late reading of a replaced device was recorded; both are that device's registers. It mints and
    ///         owes nothing.
    event LateReadingRecorded(bytes32 indexed meterId, uint64 intervalEnd, uint64 importWh, uint64 exportWh);
    /// @notice A reading of a batch was skipped and changed nothing.
    event ReadingSkipped(bytes32 indexed meterId, uint64 intervalEnd, SkipReason reason);
    /// @notice A meter's counting starts, or starts again, at these registers.
    event RegisterOpened(bytes32 indexed meterId, uint64 openedAt, uint64 importWh, uint64 exportWh);
    /// @notice Implausible growth was parked: no mint and no import yet.
    event GrowthParked(
        uint256 indexed id,
        bytes32 indexed meterId,
        address indexed owner,
        uint64 importWh,
        uint64 exportWh
    );
    /// @notice Parked growth was minted and owed after all.
    event ParkedReleased(uint256 indexed id);
    /// @notice Parked growth was refused for good.
    event ParkedRejected(uint256 indexed id);
    /// @notice GRID was burnt against import, oldest first: out of the trading account, or out of the wallet.
    event Retired(address indexed account, uint64 previousWh, uint64 currentWh, bool fromWallet);
    /// @notice GRID was burnt against no import: consumed outside the community, by the utility say.
    event Surrendered(address indexed account, uint64 energyWh);
    /// @notice A participant allowed keepers to retire for it, or no longer.
    event AutoRetireSet(address indexed account, bool enabled);

    /// @notice No reading in the batch.
    error NoReadings();
    /// @notice More P-256 keys than readings.
    error TooManyKeys(uint256 keys, uint256 readings);
    /// @notice Nothing waits under this id (never parked, released or rejected already).
    error NothingParked(uint256 id);
    /// @notice A register above 2**48 Wh: no meter shows that.
    error RegisterOutOfRange(bytes32 meterId, uint64 importWh, uint64 exportWh, uint256 maximumWh);
    /// @notice The old meter's final register lies before its newest reading.
    error FinalRegisterTooLow(bytes32 meterId, uint64 importWh, uint64 exportWh);
    /// @notice No outstanding import, or no free GRID.
    error NothingToRetire(address account);
    /// @notice More than is outstanding.
    error MoreThanOutstanding(address account, uint256 energyWh, uint256 outstandingWh);
    /// @notice Less free GRID than asked for.
    error NotEnoughGrid(address account, uint256 energyWh, uint256 freeWh);

    /// @notice Takes readings in. Minters only. Bad entries are skipped with a reason; the others count.
    /// @param readings Those of secp256k1 meters first, then those of P-256 meters.
    /// @param keys Public keys of the P-256 meters: of the last `keys.length` readings, in their order.
    /// @return accepted How many counted; late readings of replaced devices do not.
    function submitReadings(
        SignedReading[] calldata readings,
        P256Key[] calldata keys
    ) external returns (uint256 accepted);

    /// @notice Distributor: mints and owes parked growth. Once.
    function releaseParked(uint256 id) external;

    /// @notice Distributor: refuses parked growth. Once.
    function rejectParked(uint256 id) external;

    /// @notice Burns free GRID of the caller's trading account against its outstanding import, oldest first.
    /// @param maximumWh At most so much.
    /// @return retiredWh What was burnt.
    function retire(uint256 maximumWh) external returns (uint256 retiredWh);

    /// @notice Burns GRID of the caller's wallet, within an allowance, against its outstanding import.
    function retireFromWallet(uint256 energyWh) external;

    /// @notice As `retire`, without limit, for accounts with auto-retire on. Anyone; accounts with nothing
    ///         to retire are passed over. Naming an account twice may revert with MoreThanOutstanding.
    /// @return retiredWh What was burnt in all.
    function retireFor(address[] calldata accounts) external returns (uint256 retiredWh);

    /// @notice Burns free GRID of the caller's trading account against no import at all.
    function surrender(uint256 energyWh) external;

    /// @notice Allows keepers to retire for the caller, or no longer. On unless switched off.
    function setAutoRetire(bool enabled) external;

    /// @notice Registry: a meter joined, with its initial registers.
    function openMeter(
        bytes32 meterId,
        address owner,
        address key,
        uint40 ratedImportW,
        uint40 ratedExportW,
        uint64 importWh,
        uint64 exportWh
    ) external;

    /// @notice Registry: another device took a meter's place.
    function replaceMeter(
        bytes32 meterId,
        address newKey,
        uint64 finalImportWh,
        uint64 finalExportWh,
        uint64 initialImportWh,
        uint64 initialExportWh
    ) external;

    /// @notice Registry: a meter's readings are refused from now on.
    function closeMeter(bytes32 meterId) external;

    /// @notice Newest accepted reading of each meter.
    function registersOf(bytes32[] calldata meterIds) external view returns (Register[] memory);

    /// @notice Import ledger of each account as of now.
    function importsOf(address[] calldata accounts) external view returns (ImportView[] memory);

    /// @notice Parked growth by id; ids count up from 1.
    function parkedOf(uint256 id) external view returns (Parked memory);

    /// @notice How many ids were given.
    function parkedCount() external view returns (uint256);

    /// @notice Whether the meter's present key signed this reading; says nothing of whether it counts.
    /// @param keys The public key of a P-256 meter; none for secp256k1.
    function isAuthentic(SignedReading calldata reading, P256Key[] calldata keys) external view returns (bool);

    /// @notice EIP-712 digest that a meter signs.
    function readingDigest(
        bytes32 meterId,
        uint64 intervalEnd,
        uint64 importWh,
        uint64 exportWh
    ) external view returns (bytes32);

    /// @notice Epochs in a settlement period.
    function PERIOD_EPOCHS() external view returns (uint256);

    /// @notice Epochs into the next period in which import can still be retired.
    function GRACE_EPOCHS() external view returns (uint256);

    /// @notice Seconds after a replacement in which readings of the old device are recorded.
    function LATE_SECONDS() external view returns (uint256);
}
