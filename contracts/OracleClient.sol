// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";

import {IMetering} from "./interfaces/IMetering.sol";
import {IOracleClient} from "./interfaces/IOracleClient.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {ITrading} from "./interfaces/ITrading.sol";

/// @title OracleClient
/// @notice See IOracleClient, which is the manual.
contract OracleClient is IOracleClient, AccessManaged {
    using EnumerableSet for EnumerableSet.Bytes32Set;

    /// @notice Blocks within which a request can be fulfilled.
    uint256 public constant TIMEOUT_BLOCKS = 100;

    /// @notice Requests that one account may have pending, so that nobody crowds out the others.
    uint256 public constant MAX_PENDING = 10;

    /// @dev Requests timed out and participants looked at in one upkeep, so that it stays far below the gas
    ///      cap of a transaction.
    uint256 private constant _UPKEEP_BATCH = 100;
    /// @dev Pending requests looked at for one that has expired. All expire within 100 blocks, so whatever
    ///      lies beyond comes within reach.
    uint256 private constant _UPKEEP_SCAN = 1000;
    uint8 private constant _DEFAULT_ZONE = 1;
    uint256 private constant _ENERGY_UNITS_PER_WH = 1e6;

    /// @notice Who may ask, and whose meters exist.
    IRegistry public immutable registry;
    /// @notice What is cleared.
    ITrading public immutable trading;
    /// @notice Where readings count.
    IMetering public immutable metering;
    /// @notice Role of those who deliver, for they may ask too.
    uint64 public immutable operatorRole;

    mapping(bytes32 requestId => Request) private _requests;
    mapping(bytes32 name => Datum) private _data;
    EnumerableSet.Bytes32Set private _pending;
    mapping(address requester => uint256) private _pendingOf;
    uint256 private _requestCount;

    /// @param authority Access manager.
    /// @param operatorRole_ Id of the oracle operator's role in it.
    constructor(
        address authority,
        IRegistry registry_,
        ITrading trading_,
        IMetering metering_,
        uint64 operatorRole_
    ) AccessManaged(authority) {
        registry = registry_;
        trading = trading_;
        metering = metering_;
        operatorRole = operatorRole_;
    }

    // ----------------------------------------------------------------- requests

    /// @inheritdoc IOracleClient
    function requestEnergyData(RequestKind kind, bytes32 subject) external returns (bytes32 requestId) {
        if (!registry.isUserVerified(msg.sender)) {
            // slither-disable-next-line unused-return -- the delay of a role's calls says nothing about who may ask
            (bool isOperator, ) = IAccessManager(authority()).hasRole(operatorRole, msg.sender);
            if (!isOperator) revert NotAllowedToRequest(msg.sender);
        }
        if (subject == bytes32(0)) revert EmptySubject();
        if (kind == RequestKind.Meter && registry.meterOf(subject).status == IRegistry.MeterStatus.Unknown) {
            revert UnknownMeter(subject);
        }
        if (_pendingOf[msg.sender] == MAX_PENDING) revert TooManyRequests(msg.sender, MAX_PENDING);
        ++_pendingOf[msg.sender];
        requestId = bytes32(++_requestCount);
        _requests[requestId] = Request(msg.sender, kind, RequestStatus.Pending, uint64(block.number), subject);
        // slither-disable-next-line unused-return -- always new: ids count up
        _pending.add(requestId);
        emit EnergyDataRequested(requestId, msg.sender, kind, subject);
    }

    /// @inheritdoc IOracleClient
    function fulfillEnergyData(bytes32 requestId, bytes calldata data) external restricted {
        Request storage request = _pendingRequest(requestId);
        uint256 lastBlock = request.blockNumber + TIMEOUT_BLOCKS;
        if (block.number > lastBlock) revert RequestExpired(requestId, lastBlock);
        _close(requestId, request, RequestStatus.Fulfilled);
        emit EnergyDataFulfilled(requestId, msg.sender, request.subject, data);
        if (request.kind == RequestKind.Datum) {
            _data[request.subject] = Datum(abi.decode(data, (int256)), uint64(block.timestamp), requestId);
        } else {
            _submit(requestId, request.subject, abi.decode(data, (IMetering.SignedReading)));
        }
    }

    /// @dev Hands the reading to Metering. One that Metering holds already (the gateway was faster) answers
    ///      the request just as well.
    function _submit(bytes32 requestId, bytes32 meterId, IMetering.SignedReading memory reading) private {
        if (reading.meterId != meterId) revert WrongMeter(requestId, meterId, reading.meterId);
        IMetering.SignedReading[] memory readings = new IMetering.SignedReading[](1);
        readings[0] = reading;
        if (metering.submitReadings(readings) == 1) return;
        bytes32[] memory meterIds = new bytes32[](1);
        meterIds[0] = meterId;
        IMetering.Register memory register = metering.registersOf(meterIds)[0];
        if (
            register.intervalEnd != reading.intervalEnd ||
            register.importWh != reading.importWh ||
            register.exportWh != reading.exportWh ||
            !metering.isAuthentic(reading)
        ) revert ReadingRefused(requestId, meterId);
    }

    /// @inheritdoc IOracleClient
    function timeOutRequests(bytes32[] calldata requestIds) external {
        _timeOut(requestIds);
    }

    function _timeOut(bytes32[] memory requestIds) private {
        for (uint256 i = 0; i < requestIds.length; ++i) {
            Request storage request = _pendingRequest(requestIds[i]);
            uint256 lastBlock = request.blockNumber + TIMEOUT_BLOCKS;
            if (block.number <= lastBlock) revert RequestNotExpired(requestIds[i], lastBlock);
            _close(requestIds[i], request, RequestStatus.TimedOut);
            emit RequestTimedOut(requestIds[i]);
        }
    }

    function _close(bytes32 requestId, Request storage request, RequestStatus status) private {
        request.status = status;
        --_pendingOf[request.requester];
        // Always there: whoever comes here has seen the request pending.
        // slither-disable-next-line unused-return
        _pending.remove(requestId);
    }

    function _pendingRequest(bytes32 requestId) private view returns (Request storage request) {
        request = _requests[requestId];
        if (request.status != RequestStatus.Pending) revert RequestNotPending(requestId, request.status);
    }

    // ------------------------------------------------------------------- upkeep

    /// @inheritdoc IOracleClient
    function checkUpkeep(bytes calldata checkData) external view returns (bool upkeepNeeded, bytes memory performData) {
        (uint8 zone, uint256 offset, uint256 limit) = checkData.length == 0
            ? (_DEFAULT_ZONE, 0, _UPKEEP_BATCH)
            : abi.decode(checkData, (uint8, uint256, uint256));
        // slither-disable-next-line unused-return -- which epoch is due does not matter here
        (bool due, ) = trading.clearingDue(zone);
        if (due) return (true, abi.encode(Upkeep.Clear, abi.encode(zone)));
        bytes32[] memory expired = _expired();
        if (expired.length != 0) return (true, abi.encode(Upkeep.TimeOut, abi.encode(expired)));
        address[] memory accounts = _retirable(offset, limit);
        if (accounts.length != 0) return (true, abi.encode(Upkeep.Retire, abi.encode(accounts)));
        return (false, "");
    }

    /// @inheritdoc IOracleClient
    function performUpkeep(bytes calldata performData) external {
        (uint8 upkeep, bytes memory payload) = abi.decode(performData, (uint8, bytes));
        if (upkeep == uint8(Upkeep.Clear)) {
            trading.matchOrders(abi.decode(payload, (uint8)));
        } else if (upkeep == uint8(Upkeep.TimeOut)) {
            bytes32[] memory requestIds = abi.decode(payload, (bytes32[]));
            if (requestIds.length == 0) revert NothingToDo();
            _timeOut(requestIds);
        } else if (upkeep == uint8(Upkeep.Retire)) {
            if (metering.retireFor(abi.decode(payload, (address[]))) == 0) revert NothingToDo();
        } else {
            revert UnknownUpkeep(upkeep);
        }
    }

    function _expired() private view returns (bytes32[] memory requestIds) {
        uint256 length = _pending.length();
        requestIds = new bytes32[](length < _UPKEEP_BATCH ? length : _UPKEEP_BATCH);
        uint256 found = 0;
        for (uint256 i = 0; i < length && i < _UPKEEP_SCAN && found < requestIds.length; ++i) {
            bytes32 requestId = _pending.at(i);
            if (block.number > _requests[requestId].blockNumber + TIMEOUT_BLOCKS) requestIds[found++] = requestId;
        }
        assembly ("memory-safe") {
            mstore(requestIds, found)
        }
    }

    /// @dev Participants of a page with auto-retire on, import outstanding and at least a free Wh of GRID.
    function _retirable(uint256 offset, uint256 limit) private view returns (address[] memory accounts) {
        accounts = registry.users(offset, limit);
        IMetering.ImportView[] memory imports = metering.importsOf(accounts);
        ITrading.AccountView[] memory balances = trading.accountsOf(accounts);
        uint256 found = 0;
        for (uint256 i = 0; i < accounts.length; ++i) {
            if (!imports[i].autoRetire || imports[i].currentWh + imports[i].previousWh == 0) continue;
            if (balances[i].energyFree < _ENERGY_UNITS_PER_WH) continue;
            accounts[found++] = accounts[i];
        }
        assembly ("memory-safe") {
            mstore(accounts, found)
        }
    }

    // -------------------------------------------------------------------- views

    /// @inheritdoc IOracleClient
    function requestOf(bytes32 requestId) external view returns (Request memory) {
        return _requests[requestId];
    }

    /// @inheritdoc IOracleClient
    function datumOf(bytes32 name) external view returns (Datum memory) {
        return _data[name];
    }

    /// @inheritdoc IOracleClient
    function pendingRequests(uint256 offset, uint256 limit) external view returns (bytes32[] memory) {
        return _pending.values(offset, limit > type(uint256).max - offset ? type(uint256).max : offset + limit);
    }
}
