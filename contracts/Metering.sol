// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {P256} from "@openzeppelin/contracts/utils/cryptography/P256.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IGridToken} from "./interfaces/IGridToken.sol";
import {IMetering} from "./interfaces/IMetering.sol";
import {ITrading} from "./interfaces/ITrading.sol";
import {Imports} from "./libraries/Imports.sol";

/// @title Metering
/// @notice See IMetering, which is the manual.
contract Metering is IMetering, AccessManaged, EIP712 {
    using Imports for Imports.Ledger;

    // ---------------------------------------------------------------- constants

    /// @inheritdoc IMetering
    uint256 public constant PERIOD_EPOCHS = 96;
    /// @inheritdoc IMetering
    uint256 public constant GRACE_EPOCHS = 4;
    /// @inheritdoc IMetering
    uint256 public constant LATE_SECONDS = 7 days;

    bytes32 private constant _READING_TYPEHASH = keccak256(
        "Reading(bytes32 meterId,uint64 intervalEnd,uint64 importWh,uint64 exportWh)"
    );
    /// @dev Largest register a meter can show: 281 TWh.
    uint256 private constant _MAX_REGISTER_WH = type(uint48).max;
    uint256 private constant _KEY_SHIFT = 128;
    uint256 private constant _FINAL_SHIFT = 128;
    /// @dev GRID wei in a Wh.
    uint256 private constant _WH_WEI = 1e15;

    /// @notice Where energy is credited and retired.
    ITrading public immutable trading;
    /// @notice Energy as a token.
    IGridToken public immutable gridToken;
    /// @dev Trading's, copied: they never change.
    uint256 private immutable _genesis;
    uint256 private immutable _epochSeconds;

    // ------------------------------------------------------------------ storage

    /// @dev What a reading is judged by, in two words. Registry is the directory of meters and tells of
    ///      changes; a reading asks nobody else.
    ///
    ///      `state`, least significant bit first: importWh 48 | exportWh 48 | intervalEnd 32 | key 128 = 256 bits.
    ///      Registers up to 281 TWh, time until 2106. Of the key's address the lowest 128 bits are kept: to sign
    ///      for a meter one needs its key or 2**128 tries, which is what both curves themselves withstand. A third
    ///      word for the other 32 bits would cost every reading 2,100 gas.
    struct Meter {
        /// Whose energy it measures; zero for an unknown meter.
        address owner;
        /// Power limits in W. 160 + 40 + 40 + 8 + 8 = 256 bits.
        uint40 ratedImportW;
        uint40 ratedExportW;
        /// Whether its readings are refused for good.
        bool closed;
        /// Whether there was a device before this one, whose late readings may still come.
        bool replaced;
        uint256 state;
    }

    /// @dev How far time is, worked out once a call.
    struct Now {
        uint256 period;
        /// Whether import of the last period can still be retired.
        bool inGrace;
    }

    mapping(bytes32 meterId => Meter) private _meters;
    /// @dev Devices that were replaced, by the lowest 128 bits of their key's address; least significant bit first:
    ///      the newest reading, importWh 48 | exportWh 48 | intervalEnd 32, and the final registers, importWh 48 |
    ///      exportWh 48 | time of the replacement 32 = 256 bits.
    mapping(bytes32 meterId => mapping(uint256 key => uint256 word)) private _former;
    /// @dev Import ledgers, see Imports.
    mapping(address account => uint256 word) private _ledgers;
    mapping(uint256 id => Parked) private _parked;
    /// @inheritdoc IMetering
    uint256 public parkedCount;

    /// @param authority Access manager.
    constructor(
        address authority,
        ITrading trading_,
        IGridToken gridToken_
    ) AccessManaged(authority) EIP712("Busbar Metering", "1") {
        trading = trading_;
        gridToken = gridToken_;
        _genesis = trading_.genesis();
        _epochSeconds = trading_.epochSeconds();
    }

    // ----------------------------------------------------------------- readings

    /// @inheritdoc IMetering
    function submitReadings(
        SignedReading[] calldata readings,
        P256Key[] calldata keys
    ) external restricted returns (uint256 accepted) {
        uint256 length = readings.length;
        if (length == 0) revert NoReadings();
        if (keys.length > length) revert TooManyKeys(keys.length, length);
        address[] memory owners = new address[](length);
        uint256[] memory mintedWh = new uint256[](length);
        uint256 credits = 0;
        uint256 totalWh = 0;
        bytes32 domain = _domainSeparatorV4();
        Now memory now_ = _now();
        uint256 free;
        assembly ("memory-safe") {
            free := mload(0x40)
        }
        unchecked {
            // Of a reading before the first with a key, `k` wraps around and names none.
            uint256 k = keys.length - length;
            for (uint256 i = 0; i < length; ++i) {
                // Memory that judging a reading took is used again: a batch would pay for it by the square.
                assembly ("memory-safe") {
                    mstore(0x40, free)
                }
                SignedReading calldata reading = readings[i];
                (SkipReason reason, address owner, uint256 wh) = _take(reading, keys, k + i, domain, now_);
                if (reason != SkipReason.None) {
                    _recordOrSkip(reading, keys, k + i, domain, reason);
                    continue;
                }
                ++accepted;
                // slither-disable-next-line incorrect-equality -- nothing grown is nothing to mint
                if (wh == 0) continue;
                owners[credits] = owner;
                mintedWh[credits] = wh;
                totalWh += wh;
                ++credits;
            }
        }
        // Shortens both arrays to what was used.
        assembly ("memory-safe") {
            mstore(owners, credits)
            mstore(mintedWh, credits)
        }
        _mint(owners, mintedWh, totalWh);
    }

    /// @dev Judges a reading, cheapest checks first and the signature last. One that counts advances the
    ///      register and owes the import; the export to mint is returned.
    function _take(
        SignedReading calldata reading,
        P256Key[] calldata keys,
        uint256 k,
        bytes32 domain,
        Now memory now_
    ) private returns (SkipReason reason, address owner, uint256 mintWh) {
        bytes32 meterId = reading.meterId;
        (uint64 end, uint64 importWh, uint64 exportWh) = (reading.intervalEnd, reading.importWh, reading.exportWh);
        Meter storage stored = _meters[meterId];
        Meter memory meter = stored;
        owner = meter.owner;
        if (owner == address(0)) return (SkipReason.UnknownMeter, owner, 0);
        if (meter.closed) return (SkipReason.RevokedMeter, owner, 0);
        if (end > block.timestamp) return (SkipReason.InFuture, owner, 0);
        (uint64 lastEnd, uint64 lastImportWh, uint64 lastExportWh) = _unpack(meter.state);
        if (end <= lastEnd) return (SkipReason.NotNewer, owner, 0);
        if (importWh < lastImportWh || exportWh < lastExportWh) return (SkipReason.RegisterWentBack, owner, 0);
        if (importWh > _MAX_REGISTER_WH || exportWh > _MAX_REGISTER_WH) return (SkipReason.OutOfRange, owner, 0);
        bytes32 digest = _digest(domain, meterId, end, importWh, exportWh);
        if (!_isKey(_signer(digest, reading, keys, k), meter.state)) return (SkipReason.BadSignature, owner, 0);

        stored.state = _state(meter.state >> _KEY_SHIFT, end, importWh, exportWh);
        emit ReadingAccepted(meterId, end, importWh, exportWh);
        unchecked {
            // Neither time nor a register went back.
            mintWh = _grow(meterId, meter, now_, end - lastEnd, importWh - lastImportWh, exportWh - lastExportWh);
        }
    }

    /// @dev A reading that is not newer may be a replaced device's, and is recorded then.
    function _recordOrSkip(
        SignedReading calldata reading,
        P256Key[] calldata keys,
        uint256 k,
        bytes32 domain,
        SkipReason reason
    ) private {
        bytes32 meterId = reading.meterId;
        // slither-disable-next-line incorrect-equality -- an enumeration
        if (reason == SkipReason.NotNewer && _meters[meterId].replaced) {
            reason = _record(reading, _signer(_digestOf(reading, domain), reading, keys, k));
            if (reason == SkipReason.None) {
                emit LateReadingRecorded(meterId, reading.intervalEnd, reading.importWh, reading.exportWh);
                return;
            }
        }
        emit ReadingSkipped(meterId, reading.intervalEnd, reason);
    }

    /// @dev Judges a reading against the device that `signer` was the key of, if any, and notes it as that
    ///      device's newest. It mints and owes nothing: the final registers held its energy.
    function _record(SignedReading calldata reading, address signer) private returns (SkipReason) {
        (uint64 end, uint64 importWh, uint64 exportWh) = (reading.intervalEnd, reading.importWh, reading.exportWh);
        uint256 key = uint128(uint160(signer));
        uint256 word = _former[reading.meterId][key];
        if (word == 0) return SkipReason.NotNewer;
        (uint64 lastEnd, uint64 lastImportWh, uint64 lastExportWh) = _unpack(word);
        (uint64 replacedAt, uint64 finalImportWh, uint64 finalExportWh) = _unpack(word >> _FINAL_SHIFT);
        if (end > replacedAt) return SkipReason.BadSignature;
        if (block.timestamp > replacedAt + LATE_SECONDS) return SkipReason.TooLate;
        if (end <= lastEnd) return SkipReason.NotNewer;
        if (importWh < lastImportWh || exportWh < lastExportWh) return SkipReason.RegisterWentBack;
        if (importWh > finalImportWh || exportWh > finalExportWh) return SkipReason.AboveFinalRegister;
        _former[reading.meterId][key] = _formerWord(_state(0, end, importWh, exportWh), word >> _FINAL_SHIFT);
        return SkipReason.None;
    }

    /// @dev Address of the key that signed `digest`: the `k`th of `keys` if there are so many, else the one that the
    ///      signature gives. A signature that is none gives the zero address, which is no meter's key.
    function _signer(
        bytes32 digest,
        SignedReading calldata reading,
        P256Key[] calldata keys,
        uint256 k
    ) private view returns (address signer) {
        if (k < keys.length) {
            P256Key calldata key = keys[k];
            if (!P256.verify(digest, reading.r, reading.vs, key.x, key.y)) return address(0);
            return address(uint160(uint256(Hashes.efficientKeccak256(key.x, key.y))));
        }
        // slither-disable-next-line unused-return -- the error says no more than the zero address does
        (signer, , ) = ECDSA.tryRecover(digest, reading.r, reading.vs);
    }

    /// @dev Owes import and returns export to mint; what is implausible over `elapsed` seconds is parked.
    function _grow(
        bytes32 meterId,
        Meter memory meter,
        Now memory now_,
        uint256 elapsed,
        uint64 importWh,
        uint64 exportWh
    ) private returns (uint256 mintWh) {
        uint64 parkedImport = _plausible(importWh, meter.ratedImportW, elapsed) ? 0 : importWh;
        uint64 parkedExport = _plausible(exportWh, meter.ratedExportW, elapsed) ? 0 : exportWh;
        if (parkedImport | parkedExport != 0) {
            // slither-disable-next-line costly-loop -- parking is the exception
            uint256 id = ++parkedCount;
            _parked[id] = Parked(meterId, meter.owner, parkedImport, parkedExport, ParkedStatus.Waiting);
            emit GrowthParked(id, meterId, meter.owner, parkedImport, parkedExport);
        }
        if (importWh != parkedImport) _owe(meter.owner, importWh, now_);
        unchecked {
            return exportWh - parkedExport;
        }
    }

    /// @dev Wh x 3600 x 10 <= W x s x 11, so no division and no rounding: at the limit is plausible.
    function _plausible(uint256 energyWh, uint256 ratedW, uint256 elapsed) private pure returns (bool) {
        unchecked {
            // 64 + 16 bits and 40 + 64 + 4 bits.
            return energyWh * 36_000 <= ratedW * elapsed * 11;
        }
    }

    function _mint(address[] memory owners, uint256[] memory energyWh, uint256 totalWh) private {
        // slither-disable-next-line incorrect-equality -- as above
        if (totalWh == 0) return;
        gridToken.mint(address(trading), totalWh * _WH_WEI, bytes32(0));
        trading.credit(owners, energyWh);
    }

    // ------------------------------------------------------------------- parked

    /// @inheritdoc IMetering
    function releaseParked(uint256 id) external restricted {
        Parked storage parked = _waiting(id);
        parked.status = ParkedStatus.Released;
        emit ParkedReleased(id);
        if (parked.importWh != 0) _owe(parked.owner, parked.importWh, _now());
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
        _mint(owners, amounts, energyWh);
    }

    // ------------------------------------------------------------------- retire

    /// @inheritdoc IMetering
    function retire(uint256 maximumWh) external returns (uint256 retiredWh) {
        address[] memory accounts = new address[](1);
        uint256[] memory wanted = new uint256[](1);
        accounts[0] = msg.sender;
        wanted[0] = Math.min(maximumWh, _present(msg.sender, _now()).outstanding());
        retiredWh = _retire(accounts, wanted);
        if (retiredWh == 0) revert NothingToRetire(msg.sender);
    }

    /// @inheritdoc IMetering
    function retireFor(address[] calldata accounts) external returns (uint256 retiredWh) {
        uint256[] memory wanted = new uint256[](accounts.length);
        Now memory now_ = _now();
        for (uint256 i = 0; i < accounts.length; ++i) {
            Imports.Ledger memory ledger = _present(accounts[i], now_);
            if (!ledger.manualRetire) wanted[i] = ledger.outstanding();
        }
        return _retire(accounts, wanted);
    }

    /// @inheritdoc IMetering
    function retireFromWallet(uint256 energyWh) external {
        uint256 outstanding = _present(msg.sender, _now()).outstanding();
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
        // slither-disable-next-line reentrancy-events -- as in _retire
        uint256 burnt = trading.retire(accounts, wanted)[0];
        if (burnt != energyWh) revert NotEnoughGrid(msg.sender, energyWh, burnt);
        emit Surrendered(msg.sender, uint64(energyWh));
    }

    /// @inheritdoc IMetering
    function setAutoRetire(bool enabled) external {
        Imports.Ledger memory ledger = Imports.unpack(_ledgers[msg.sender]);
        ledger.manualRetire = !enabled;
        _ledgers[msg.sender] = ledger.pack();
        emit AutoRetireSet(msg.sender, enabled);
    }

    /// @dev Burns up to `wanted` of each account, with one burn, and discharges what was burnt.
    function _retire(address[] memory accounts, uint256[] memory wanted) private returns (uint256 total) {
        // Trading is this market's own and calls back nobody but the GRID token.
        // slither-disable-next-line reentrancy-benign,reentrancy-events
        uint256[] memory burnt = trading.retire(accounts, wanted);
        for (uint256 i = 0; i < accounts.length; ++i) {
            // slither-disable-next-line incorrect-equality -- nothing burnt is nothing to discharge
            if (burnt[i] == 0) continue;
            _discharge(accounts[i], burnt[i], false);
            total += burnt[i];
        }
    }

    // ------------------------------------------------------------ import ledger

    function _owe(address account, uint256 energyWh, Now memory now_) private {
        _ledgers[account] = Imports.owe(_ledgers[account], energyWh, now_.period, now_.inGrace);
    }

    /// @dev Takes burnt energy off what is outstanding, oldest first; reverts if it is more.
    function _discharge(address account, uint256 energyWh, bool fromWallet) private {
        Imports.Ledger memory ledger = _present(account, _now());
        uint256 outstanding = ledger.outstanding();
        if (energyWh > outstanding) revert MoreThanOutstanding(account, energyWh, outstanding);
        uint256 fromPrevious = Math.min(energyWh, ledger.previous);
        uint256 fromCurrent = energyWh - fromPrevious;
        ledger.previous -= fromPrevious;
        ledger.current -= fromCurrent;
        _ledgers[account] = ledger.pack();
        emit Retired(account, uint64(fromPrevious), uint64(fromCurrent), fromWallet);
    }

    /// @dev The ledger as of now: a function of the stored word and of time alone, so it does not matter
    ///      who touched it when.
    function _present(address account, Now memory now_) private view returns (Imports.Ledger memory ledger) {
        ledger = Imports.unpack(_ledgers[account]);
        ledger.advance(now_.period, now_.inGrace);
    }

    function _now() private view returns (Now memory) {
        uint256 epoch = (block.timestamp - _genesis) / _epochSeconds;
        // slither-disable-next-line weak-prng -- a calendar, no chance
        return Now(epoch / PERIOD_EPOCHS, epoch % PERIOD_EPOCHS < GRACE_EPOCHS);
    }

    // ----------------------------------------------------------------- Registry

    /// @inheritdoc IMetering
    function openMeter(
        bytes32 meterId,
        address owner,
        address key,
        uint40 ratedImportW,
        uint40 ratedExportW,
        uint64 importWh,
        uint64 exportWh
    ) external restricted {
        _meters[meterId] = Meter(owner, ratedImportW, ratedExportW, false, false, 0);
        _open(meterId, key, importWh, exportWh);
    }

    /// @inheritdoc IMetering
    function replaceMeter(
        bytes32 meterId,
        address newKey,
        uint64 finalImportWh,
        uint64 finalExportWh,
        uint64 initialImportWh,
        uint64 initialExportWh
    ) external restricted {
        Meter memory meter = _meters[meterId];
        (uint64 lastEnd, uint64 lastImportWh, uint64 lastExportWh) = _unpack(meter.state);
        if (finalImportWh < lastImportWh || finalExportWh < lastExportWh) {
            revert FinalRegisterTooLow(meterId, lastImportWh, lastExportWh);
        }
        _requireInRange(meterId, finalImportWh, finalExportWh);
        _meters[meterId].replaced = true;
        _former[meterId][meter.state >> _KEY_SHIFT] = _formerWord(
            meter.state,
            _state(0, block.timestamp, finalImportWh, finalExportWh)
        );
        _open(meterId, newKey, initialImportWh, initialExportWh);
        uint256 mintWh = _grow(
            meterId,
            meter,
            _now(),
            block.timestamp - lastEnd,
            finalImportWh - lastImportWh,
            finalExportWh - lastExportWh
        );
        _mintOne(meter.owner, mintWh);
    }

    /// @inheritdoc IMetering
    function closeMeter(bytes32 meterId) external restricted {
        _meters[meterId].closed = true;
    }

    function _open(bytes32 meterId, address key, uint64 importWh, uint64 exportWh) private {
        _requireInRange(meterId, importWh, exportWh);
        uint64 openedAt = uint64(block.timestamp);
        _meters[meterId].state = _state(uint128(uint160(key)), openedAt, importWh, exportWh);
        emit RegisterOpened(meterId, openedAt, importWh, exportWh);
    }

    function _requireInRange(bytes32 meterId, uint64 importWh, uint64 exportWh) private pure {
        if (importWh > _MAX_REGISTER_WH || exportWh > _MAX_REGISTER_WH) {
            revert RegisterOutOfRange(meterId, importWh, exportWh, _MAX_REGISTER_WH);
        }
    }

    function _formerWord(uint256 newest, uint256 last) private pure returns (uint256) {
        return uint128(newest) | (last << _FINAL_SHIFT);
    }

    function _state(
        uint256 key,
        uint256 intervalEnd,
        uint256 importWh,
        uint256 exportWh
    ) private pure returns (uint256) {
        return importWh | (exportWh << 48) | (intervalEnd << 96) | (key << _KEY_SHIFT);
    }

    function _unpack(uint256 state) private pure returns (uint64 intervalEnd, uint64 importWh, uint64 exportWh) {
        return (uint32(state >> 96), uint48(state), uint48(state >> 48));
    }

    /// @dev The zero address, which a failed recovery gives, is never a meter's: its low bits would need luck
    ///      of one in 2**128 to be another key's, and Registry refuses the zero key.
    function _isKey(address signer, uint256 state) private pure returns (bool) {
        return signer != address(0) && uint128(uint160(signer)) == state >> _KEY_SHIFT;
    }

    // -------------------------------------------------------------------- views

    /// @inheritdoc IMetering
    function registersOf(bytes32[] calldata meterIds) external view returns (Register[] memory registers) {
        registers = new Register[](meterIds.length);
        for (uint256 i = 0; i < meterIds.length; ++i) {
            (uint64 intervalEnd, uint64 importWh, uint64 exportWh) = _unpack(_meters[meterIds[i]].state);
            registers[i] = Register(intervalEnd, importWh, exportWh);
        }
    }

    /// @inheritdoc IMetering
    function importsOf(address[] calldata accounts) external view returns (ImportView[] memory imports) {
        imports = new ImportView[](accounts.length);
        Now memory now_ = _now();
        for (uint256 i = 0; i < accounts.length; ++i) {
            Imports.Ledger memory ledger = _present(accounts[i], now_);
            imports[i] = ImportView({
                period: uint32(ledger.period),
                currentWh: uint64(ledger.current),
                previousWh: uint64(ledger.previous),
                gridImportWh: uint64(ledger.gridImport),
                autoRetire: !ledger.manualRetire
            });
        }
    }

    /// @inheritdoc IMetering
    function parkedOf(uint256 id) external view returns (Parked memory) {
        return _parked[id];
    }

    /// @inheritdoc IMetering
    function isAuthentic(SignedReading calldata reading, P256Key[] calldata keys) external view returns (bool) {
        bytes32 digest = _digestOf(reading, _domainSeparatorV4());
        return _isKey(_signer(digest, reading, keys, 0), _meters[reading.meterId].state);
    }

    /// @inheritdoc IMetering
    function readingDigest(
        bytes32 meterId,
        uint64 intervalEnd,
        uint64 importWh,
        uint64 exportWh
    ) public view returns (bytes32) {
        return _digest(_domainSeparatorV4(), meterId, intervalEnd, importWh, exportWh);
    }

    function _digestOf(SignedReading calldata reading, bytes32 domain) private pure returns (bytes32) {
        return _digest(domain, reading.meterId, reading.intervalEnd, reading.importWh, reading.exportWh);
    }

    function _digest(
        bytes32 domain,
        bytes32 meterId,
        uint64 intervalEnd,
        uint64 importWh,
        uint64 exportWh
    ) private pure returns (bytes32) {
        bytes32 structHash = keccak256(abi.encode(_READING_TYPEHASH, meterId, intervalEnd, importWh, exportWh));
        return MessageHashUtils.toTypedDataHash(domain, structHash);
    }
}
