// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IGridToken} from "./interfaces/IGridToken.sol";
import {IMetering} from "./interfaces/IMetering.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {ITrading} from "./interfaces/ITrading.sol";

/// @title Metering
/// @notice See IMetering, which is the manual.
contract Metering is IMetering, AccessManaged, EIP712 {
    // ---------------------------------------------------------------- constants

    /// @inheritdoc IMetering
    uint256 public constant PERIOD_EPOCHS = 96;
    /// @inheritdoc IMetering
    uint256 public constant GRACE_EPOCHS = 4;

    bytes32 private constant _READING_TYPEHASH =
        keccak256("Reading(bytes32 meterId,uint64 intervalEnd,uint64 importWh,uint64 exportWh)");
    /// @dev GRID wei in a Wh.
    uint256 private constant _WH_WEI = 1e15;

    /// @notice Who owns which meter.
    IRegistry public immutable registry;
    /// @notice Where energy is credited and retired.
    ITrading public immutable trading;
    /// @notice Energy as a token.
    IGridToken public immutable gridToken;
    /// @dev Trading's, copied: they never change.
    uint256 private immutable _genesis;
    uint256 private immutable _epochSeconds;

    // ------------------------------------------------------------------ storage

    /// @dev A participant's import, one word: 32 + 64 + 64 + 64 + 8 = 232 bits. Energies in Wh.
    struct Ledger {
        /// Period in which `current` was accepted.
        uint32 period;
        uint64 current;
        uint64 previous;
        uint64 gridImport;
        bool manualRetire;
    }

    mapping(bytes32 meterId => Register) private _registers;
    mapping(address account => Ledger) private _ledgers;
    mapping(uint256 id => Parked) private _parked;
    /// @inheritdoc IMetering
    uint256 public parkedCount;

    /// @param authority Access manager.
    constructor(
        address authority,
        IRegistry registry_,
        ITrading trading_,
        IGridToken gridToken_
    ) AccessManaged(authority) EIP712("Busbar Metering", "1") {
        registry = registry_;
        trading = trading_;
        gridToken = gridToken_;
        _genesis = trading_.genesis();
        _epochSeconds = trading_.epochSeconds();
    }

    // ----------------------------------------------------------------- readings

    /// @inheritdoc IMetering
    function submitReadings(SignedReading[] calldata readings) external restricted returns (uint256 accepted) {
        uint256 length = readings.length;
        if (length == 0) revert NoReadings();
        bytes32[] memory meterIds = new bytes32[](length);
        for (uint256 i = 0; i < length; ++i) {
            meterIds[i] = readings[i].meterId;
        }
        IRegistry.Meter[] memory meters = registry.metersFor(meterIds);

        address[] memory owners = new address[](length);
        uint256[] memory mintedWh = new uint256[](length);
        uint256 credits = 0;
        for (uint256 i = 0; i < length; ++i) {
            SkipReason reason = _judge(readings[i], meters[i]);
            if (reason != SkipReason.None) {
                emit ReadingSkipped(readings[i].meterId, readings[i].intervalEnd, reason);
                continue;
            }
            ++accepted;
            uint256 wh = _accept(readings[i], meters[i]);
            if (wh == 0) continue;
            owners[credits] = meters[i].owner;
            mintedWh[credits] = wh;
            ++credits;
        }
        // Shortens both arrays to what was used.
        assembly ("memory-safe") {
            mstore(owners, credits)
            mstore(mintedWh, credits)
        }
        _mint(owners, mintedWh);
    }

    /// @dev Whether a reading counts; in the order cheapest first, the signature last.
    function _judge(
        SignedReading calldata reading,
        IRegistry.Meter memory meter
    ) private view returns (SkipReason) {
        if (meter.status == IRegistry.MeterStatus.Unknown) return SkipReason.UnknownMeter;
        if (meter.status == IRegistry.MeterStatus.Revoked) return SkipReason.RevokedMeter;
        if (reading.intervalEnd > block.timestamp) return SkipReason.InFuture;
        Register storage register = _registers[reading.meterId];
        if (reading.intervalEnd <= register.intervalEnd) return SkipReason.NotNewer;
        if (reading.importWh < register.importWh || reading.exportWh < register.exportWh) {
            return SkipReason.RegisterWentBack;
        }
        bytes32 digest = readingDigest(reading.meterId, reading.intervalEnd, reading.importWh, reading.exportWh);
        (address signer, ECDSA.RecoverError err, ) = ECDSA.tryRecover(digest, reading.r, reading.vs);
        if (err != ECDSA.RecoverError.NoError || signer != meter.key) return SkipReason.BadSignature;
        return SkipReason.None;
    }

    /// @dev Advances the register, owes the import, and returns the export to mint.
    function _accept(SignedReading calldata reading, IRegistry.Meter memory meter) private returns (uint256 mintWh) {
        Register memory register = _registers[reading.meterId];
        _registers[reading.meterId] = Register(reading.intervalEnd, reading.importWh, reading.exportWh);
        emit ReadingAccepted(reading.meterId, reading.intervalEnd, reading.importWh, reading.exportWh);
        return
            _grow(
                reading.meterId,
                meter,
                reading.intervalEnd - register.intervalEnd,
                reading.importWh - register.importWh,
                reading.exportWh - register.exportWh
            );
    }

    /// @dev Owes import and returns export to mint; what is implausible over `elapsed` seconds is parked.
    function _grow(
        bytes32 meterId,
        IRegistry.Meter memory meter,
        uint256 elapsed,
        uint64 importWh,
        uint64 exportWh
    ) private returns (uint256 mintWh) {
        uint64 parkedImport = _plausible(importWh, meter.ratedImportW, elapsed) ? 0 : importWh;
        uint64 parkedExport = _plausible(exportWh, meter.ratedExportW, elapsed) ? 0 : exportWh;
        if (parkedImport | parkedExport != 0) {
            uint256 id = ++parkedCount;
            _parked[id] = Parked(meterId, meter.owner, parkedImport, parkedExport, ParkedStatus.Waiting);
            emit GrowthParked(id, meterId, meter.owner, parkedImport, parkedExport);
        }
        if (importWh != parkedImport) _owe(meter.owner, importWh);
        return exportWh - parkedExport;
    }

    /// @dev Wh x 3600 x 10 <= W x s x 11, so no division and no rounding: at the limit is plausible.
    function _plausible(uint256 energyWh, uint256 ratedW, uint256 elapsed) private pure returns (bool) {
        return energyWh * 36_000 <= ratedW * elapsed * 11;
    }

    function _mint(address[] memory owners, uint256[] memory energyWh) private {
        uint256 total = 0;
        for (uint256 i = 0; i < energyWh.length; ++i) {
            total += energyWh[i];
        }
        if (total == 0) return;
        gridToken.mint(address(trading), total * _WH_WEI, bytes32(0));
        trading.credit(owners, energyWh);
    }

    // ------------------------------------------------------------------- parked

    /// @inheritdoc IMetering
    function releaseParked(uint256 id) external restricted {
        Parked storage parked = _waiting(id);
        parked.status = ParkedStatus.Released;
        emit ParkedReleased(id);
        if (parked.importWh != 0) _owe(parked.owner, parked.importWh);
        _mintOne(parked.owner, parked.exportWh);
    }

    /// @inheritdoc IMetering
    function rejectParked(uint256 id) external restricted {
        _waiting(id).status = ParkedStatus.Rejected;
        emit ParkedRejected(id);
    }

    function _waiting(uint256 id) private view returns (Parked storage parked) {
        parked = _parked[id];
        if (parked.status != ParkedStatus.Waiting) revert NothingParked(id);
    }

    function _mintOne(address owner, uint256 energyWh) private {
        address[] memory owners = new address[](1);
        uint256[] memory amounts = new uint256[](1);
        (owners[0], amounts[0]) = (owner, energyWh);
        _mint(owners, amounts);
    }

    // ------------------------------------------------------------------- retire

    /// @inheritdoc IMetering
    function retire(uint256 maximumWh) external returns (uint256 retiredWh) {
        address[] memory accounts = new address[](1);
        uint256[] memory wanted = new uint256[](1);
        accounts[0] = msg.sender;
        wanted[0] = Math.min(maximumWh, _outstanding(_present(msg.sender)));
        retiredWh = _retire(accounts, wanted);
        if (retiredWh == 0) revert NothingToRetire(msg.sender);
    }

    /// @inheritdoc IMetering
    function retireFor(address[] calldata accounts) external returns (uint256 retiredWh) {
        uint256[] memory wanted = new uint256[](accounts.length);
        for (uint256 i = 0; i < accounts.length; ++i) {
            Ledger memory ledger = _present(accounts[i]);
            if (!ledger.manualRetire) wanted[i] = _outstanding(ledger);
        }
        return _retire(accounts, wanted);
    }

    /// @inheritdoc IMetering
    function retireFromWallet(uint256 energyWh) external {
        uint256 outstanding = _outstanding(_present(msg.sender));
        if (energyWh == 0) revert NothingToRetire(msg.sender);
        if (energyWh > outstanding) revert MoreThanOutstanding(msg.sender, energyWh, outstanding);
        _discharge(msg.sender, energyWh, true);
        gridToken.burnFrom(msg.sender, energyWh * _WH_WEI);
    }

    /// @inheritdoc IMetering
    function surrender(uint256 energyWh) external {
        if (energyWh == 0) revert NothingToRetire(msg.sender);
        address[] memory accounts = new address[](1);
        uint256[] memory wanted = new uint256[](1);
        (accounts[0], wanted[0]) = (msg.sender, energyWh);
        uint256 burnt = trading.retire(accounts, wanted)[0];
        if (burnt != energyWh) revert NotEnoughGrid(msg.sender, energyWh, burnt);
        emit Surrendered(msg.sender, uint64(energyWh));
    }

    /// @inheritdoc IMetering
    function setAutoRetire(bool enabled) external {
        _ledgers[msg.sender].manualRetire = !enabled;
        emit AutoRetireSet(msg.sender, enabled);
    }

    /// @dev Burns up to `wanted` of each account and discharges what was burnt. An account named twice is
    ///      asked for its import twice, so each burn is limited again by what is outstanding then.
    function _retire(address[] memory accounts, uint256[] memory wanted) private returns (uint256 total) {
        uint256[] memory burnt = trading.retire(accounts, wanted);
        for (uint256 i = 0; i < accounts.length; ++i) {
            if (burnt[i] == 0) continue;
            _discharge(accounts[i], burnt[i], false);
            total += burnt[i];
        }
    }

    // ------------------------------------------------------------ import ledger

    function _owe(address account, uint64 energyWh) private {
        Ledger memory ledger = _present(account);
        ledger.current += energyWh;
        _ledgers[account] = ledger;
    }

    /// @dev Takes burnt energy off what is outstanding, oldest first; reverts if it is more.
    function _discharge(address account, uint256 energyWh, bool fromWallet) private {
        Ledger memory ledger = _present(account);
        uint256 outstanding = _outstanding(ledger);
        if (energyWh > outstanding) revert MoreThanOutstanding(account, energyWh, outstanding);
        uint64 fromPrevious = uint64(Math.min(energyWh, ledger.previous));
        uint64 fromCurrent = uint64(energyWh) - fromPrevious;
        ledger.previous -= fromPrevious;
        ledger.current -= fromCurrent;
        _ledgers[account] = ledger;
        emit Retired(account, fromPrevious, fromCurrent, fromWallet);
    }

    function _outstanding(Ledger memory ledger) private pure returns (uint256) {
        return uint256(ledger.previous) + ledger.current;
    }

    /// @dev The ledger as of now: a function of the stored word and of time alone, so it does not matter
    ///      who touched it when.
    function _present(address account) private view returns (Ledger memory ledger) {
        ledger = _ledgers[account];
        uint256 epoch = (block.timestamp - _genesis) / _epochSeconds;
        uint256 period = epoch / PERIOD_EPOCHS;
        if (period != ledger.period) {
            ledger.gridImport += ledger.previous;
            ledger.previous = ledger.current;
            ledger.current = 0;
            if (period > uint256(ledger.period) + 1) {
                ledger.gridImport += ledger.previous;
                ledger.previous = 0;
            }
            ledger.period = uint32(period);
        }
        if (epoch % PERIOD_EPOCHS >= GRACE_EPOCHS) {
            ledger.gridImport += ledger.previous;
            ledger.previous = 0;
        }
    }

    // ----------------------------------------------------------------- Registry

    /// @inheritdoc IMetering
    function openRegister(bytes32 meterId, uint64 importWh, uint64 exportWh) external restricted {
        _open(meterId, importWh, exportWh);
    }

    /// @inheritdoc IMetering
    function replaceRegister(
        bytes32 meterId,
        uint64 finalImportWh,
        uint64 finalExportWh,
        uint64 initialImportWh,
        uint64 initialExportWh
    ) external restricted {
        Register memory register = _registers[meterId];
        if (finalImportWh < register.importWh || finalExportWh < register.exportWh) {
            revert FinalRegisterTooLow(meterId, register.importWh, register.exportWh);
        }
        IRegistry.Meter memory meter = registry.meterOf(meterId);
        _open(meterId, initialImportWh, initialExportWh);
        uint256 mintWh = _grow(
            meterId,
            meter,
            block.timestamp - register.intervalEnd,
            finalImportWh - register.importWh,
            finalExportWh - register.exportWh
        );
        _mintOne(meter.owner, mintWh);
    }

    function _open(bytes32 meterId, uint64 importWh, uint64 exportWh) private {
        uint64 openedAt = uint64(block.timestamp);
        _registers[meterId] = Register(openedAt, importWh, exportWh);
        emit RegisterOpened(meterId, openedAt, importWh, exportWh);
    }

    // -------------------------------------------------------------------- views

    /// @inheritdoc IMetering
    function registersOf(bytes32[] calldata meterIds) external view returns (Register[] memory registers) {
        registers = new Register[](meterIds.length);
        for (uint256 i = 0; i < meterIds.length; ++i) {
            registers[i] = _registers[meterIds[i]];
        }
    }

    /// @inheritdoc IMetering
    function importsOf(address[] calldata accounts) external view returns (ImportView[] memory imports) {
        imports = new ImportView[](accounts.length);
        for (uint256 i = 0; i < accounts.length; ++i) {
            Ledger memory l = _present(accounts[i]);
            imports[i] = ImportView(l.period, l.current, l.previous, l.gridImport, !l.manualRetire);
        }
    }

    /// @inheritdoc IMetering
    function parkedOf(uint256 id) external view returns (Parked memory) {
        return _parked[id];
    }

    /// @inheritdoc IMetering
    function readingDigest(
        bytes32 meterId,
        uint64 intervalEnd,
        uint64 importWh,
        uint64 exportWh
    ) public view returns (bytes32) {
        return
            _hashTypedDataV4(keccak256(abi.encode(_READING_TYPEHASH, meterId, intervalEnd, importWh, exportWh)));
    }
}
