// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IMetering} from "./interfaces/IMetering.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {ITrading} from "./interfaces/ITrading.sol";

/// @title Registry
/// @notice See IRegistry, which is the manual.
contract Registry is IRegistry, AccessManaged {
    /// @notice Meters a participant may have.
    uint256 public constant MAX_METERS = 10;

    /// @notice Told of status and zone.
    ITrading public immutable trading;
    /// @notice Told of registers.
    IMetering public immutable metering;

    mapping(address account => Participant) private _participants;
    mapping(bytes32 meterId => Meter) private _meters;
    mapping(address account => bytes32[]) private _metersOf;
    mapping(address key => bytes32 meterId) private _meterOfKey;
    address[] private _userList;
    bytes32[] private _meterList;

    /// @param authority Access manager.
    /// @param trading_ Told of status and zone.
    /// @param metering_ Told of meters.
    constructor(address authority, ITrading trading_, IMetering metering_) AccessManaged(authority) {
        if (address(trading_) == address(0) || address(metering_) == address(0)) revert ZeroAddress();
        trading = trading_;
        metering = metering_;
    }

    // ------------------------------------------------------------- participants

    /// @inheritdoc IRegistry
    function registerUser(address account, uint8 zone, bytes32 ref) external restricted {
        if (account == address(0)) revert ZeroAddress();
        Participant storage p = _participants[account];
        if (p.status != Status.Unknown) revert AlreadyRegistered(account);
        p.registeredAt = uint40(block.timestamp);
        p.zone = zone;
        p.status = Status.Active;
        p.ref = ref;
        _userList.push(account);
        emit UserRegistered(account, zone, ref);
        _push(account, p);
    }

    /// @inheritdoc IRegistry
    function setStatus(address account, Status status) external restricted {
        if (status == Status.Unknown) revert InvalidStatus(status);
        Participant storage p = _known(account);
        p.status = status;
        emit StatusSet(account, status);
        _push(account, p);
    }

    /// @inheritdoc IRegistry
    function setZone(address account, uint8 zone) external restricted {
        Participant storage p = _known(account);
        p.zone = zone;
        emit ZoneMoved(account, zone);
        _push(account, p);
    }

    function _known(address account) private view returns (Participant storage p) {
        p = _participants[account];
        if (p.status == Status.Unknown) revert NotRegistered(account);
    }

    function _push(address account, Participant storage p) private {
        trading.setAccount(account, uint8(p.status), p.zone);
    }

    // ------------------------------------------------------------------- meters

    /// @inheritdoc IRegistry
    function assignMeter(bytes32 meterId, MeterConfig calldata config) external restricted {
        if (meterId == bytes32(0)) revert InvalidMeter(meterId, "meterId");
        if (_meters[meterId].status != MeterStatus.Unknown) revert MeterExists(meterId);
        Participant storage owner = _known(config.owner);
        if (owner.meterCount >= MAX_METERS) revert TooManyMeters(config.owner, MAX_METERS);
        if (config.kind == MeterKind.Unknown) revert InvalidMeter(meterId, "kind");
        if (config.ratedImportW == 0) revert InvalidMeter(meterId, "ratedImportW");
        if ((config.kind == MeterKind.Prosumer) != (config.ratedExportW != 0)) {
            revert InvalidMeter(meterId, "ratedExportW");
        }
        if ((config.kind == MeterKind.Prosumer) != (config.source != Source.None)) {
            revert InvalidMeter(meterId, "source");
        }
        _takeKey(config.key, meterId);

        ++owner.meterCount;
        _meters[meterId] = Meter({
            key: config.key,
            keyType: config.keyType,
            status: MeterStatus.Active,
            kind: config.kind,
            source: config.source,
            assignedAt: uint40(block.timestamp),
            owner: config.owner,
            ratedImportW: config.ratedImportW,
            ratedExportW: config.ratedExportW
        });
        _metersOf[config.owner].push(meterId);
        _meterList.push(meterId);
        emit MeterAssigned(meterId, config.owner, config);
        metering.openMeter(
            meterId,
            config.owner,
            config.key,
            config.ratedImportW,
            config.ratedExportW,
            config.importWh,
            config.exportWh
        );
    }

    /// @inheritdoc IRegistry
    function replaceMeter(
        bytes32 meterId,
        address newKey,
        KeyType newKeyType,
        uint64 finalImportWh,
        uint64 finalExportWh,
        uint64 initialImportWh,
        uint64 initialExportWh
    ) external restricted {
        Meter storage meter = _activeMeter(meterId);
        address oldKey = meter.key;
        _takeKey(newKey, meterId);
        meter.key = newKey;
        meter.keyType = newKeyType;
        emit MeterReplaced(
            meterId,
            oldKey,
            newKey,
            newKeyType,
            finalImportWh,
            finalExportWh,
            initialImportWh,
            initialExportWh
        );
        metering.replaceMeter(meterId, newKey, finalImportWh, finalExportWh, initialImportWh, initialExportWh);
    }

    /// @inheritdoc IRegistry
    function revokeMeter(bytes32 meterId) external restricted {
        _activeMeter(meterId).status = MeterStatus.Revoked;
        emit MeterRevoked(meterId);
        metering.closeMeter(meterId);
    }

    function _activeMeter(bytes32 meterId) private view returns (Meter storage meter) {
        meter = _meters[meterId];
        if (meter.status == MeterStatus.Unknown) revert UnknownMeter(meterId);
        if (meter.status == MeterStatus.Revoked) revert MeterIsRevoked(meterId);
    }

    /// @dev A key signs for one meter ever: a signature must never fit two registers.
    function _takeKey(address key, bytes32 meterId) private {
        if (key == address(0)) revert InvalidMeter(meterId, "key");
        if (_meterOfKey[key] != bytes32(0)) revert KeyInUse(key, _meterOfKey[key]);
        _meterOfKey[key] = meterId;
    }

    // -------------------------------------------------------------------- views

    /// @inheritdoc IRegistry
    function isUserVerified(address account) external view returns (bool) {
        // slither-disable-next-line incorrect-equality -- an enumeration
        return _participants[account].status == Status.Active;
    }

    /// @inheritdoc IRegistry
    function registeredAt(address account) external view returns (uint256) {
        return _participants[account].registeredAt;
    }

    /// @inheritdoc IRegistry
    function participantOf(address account) external view returns (Participant memory) {
        return _participants[account];
    }

    /// @inheritdoc IRegistry
    function meterOf(bytes32 meterId) external view returns (Meter memory) {
        return _meters[meterId];
    }

    /// @inheritdoc IRegistry
    function meterOfKey(address key) external view returns (bytes32) {
        return _meterOfKey[key];
    }

    /// @inheritdoc IRegistry
    function metersOf(address account) external view returns (bytes32[] memory) {
        return _metersOf[account];
    }

    /// @inheritdoc IRegistry
    function userCount() external view returns (uint256) {
        return _userList.length;
    }

    /// @inheritdoc IRegistry
    function meterCount() external view returns (uint256) {
        return _meterList.length;
    }

    /// @inheritdoc IRegistry
    function users(uint256 offset, uint256 limit) external view returns (address[] memory page) {
        (uint256 start, uint256 size) = _page(_userList.length, offset, limit);
        page = new address[](size);
        for (uint256 i = 0; i < size; ++i) {
            page[i] = _userList[start + i];
        }
    }

    /// @inheritdoc IRegistry
    function meters(uint256 offset, uint256 limit) external view returns (bytes32[] memory page) {
        (uint256 start, uint256 size) = _page(_meterList.length, offset, limit);
        page = new bytes32[](size);
        for (uint256 i = 0; i < size; ++i) {
            page[i] = _meterList[start + i];
        }
    }

    function _page(uint256 length, uint256 offset, uint256 limit) private pure returns (uint256 start, uint256 size) {
        start = Math.min(offset, length);
        size = Math.min(limit, length - start);
    }
}
