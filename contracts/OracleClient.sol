// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import {Arrays} from "@openzeppelin/contracts/utils/Arrays.sol";
import {SignedMath} from "@openzeppelin/contracts/utils/math/SignedMath.sol";
import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";

import {IMetering} from "./interfaces/IMetering.sol";
import {IOracleClient} from "./interfaces/IOracleClient.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {ITrading} from "./interfaces/ITrading.sol";

/// @title OracleClient
/// @notice See IOracleClient, which is the manual.
contract OracleClient is IOracleClient, AccessManaged {
    using EnumerableSet for EnumerableSet.AddressSet;
    using EnumerableSet for EnumerableSet.Bytes32Set;

    /// @notice Blocks within which a request can be fulfilled.
    uint256 public constant TIMEOUT_BLOCKS = 100;

    /// @inheritdoc IOracleClient
    uint256 public constant MAX_OPERATORS = 15;

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
    /// @dev Length of a delivered secp256k1 reading; a P-256 key after it makes it longer.
    uint256 private constant _READING_BYTES = 192;
    /// @dev Basis points in the whole.
    uint256 private constant _WHOLE_BP = 10_000;
    uint256 private constant _SIGN_BIT = 1 << 255;

    /// @dev Requests of an account: one word.
    struct Asked {
        uint128 pending;
        /// Ever made; the next one's nonce.
        uint128 made;
    }

    /// @dev An operator's answer, one word. 2**95 is 3.9e28: ample for micro-THB.
    struct Answer {
        address operator;
        int96 value;
    }

    /// @dev What an operator has done; `asked` without the requests since it was last added.
    struct Record {
        uint64 asked;
        uint64 answered;
        uint64 outliers;
        /// Count of requests for data when it was last added.
        uint64 since;
    }

    /// @dev Parameters of the panel and the count of requests for data: one word.
    struct Panel {
        uint8 quorum;
        uint16 toleranceBp;
        uint64 requests;
    }

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
    mapping(address requester => Asked) private _asked;
    Panel private _panel = Panel(1, 0, 0);
    EnumerableSet.AddressSet private _operators;
    mapping(address operator => Record) private _records;
    mapping(bytes32 requestId => mapping(uint256 index => Answer)) private _answers;

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
        Asked storage asked = _asked[msg.sender];
        if (asked.pending == MAX_PENDING) revert TooManyRequests(msg.sender, MAX_PENDING);
        // As Chainlink's Operator names requests, so that it can answer under the same id.
        requestId = keccak256(abi.encodePacked(msg.sender, uint256(asked.made)));
        ++asked.pending;
        ++asked.made;
        uint8 quorum = 0;
        if (kind == RequestKind.Datum) {
            quorum = _panel.quorum;
            ++_panel.requests;
        }
        _requests[requestId] = Request({
            requester: msg.sender,
            kind: kind,
            status: RequestStatus.Pending,
            blockNumber: uint64(block.number),
            quorum: quorum,
            answers: 0,
            subject: subject
        });
        // slither-disable-next-line unused-return -- always new: nonces count up
        _pending.add(requestId);
        emit EnergyDataRequested(requestId, msg.sender, kind, subject);
    }

    /// @inheritdoc IOracleClient
    function fulfillEnergyData(bytes32 requestId, bytes calldata data) external restricted {
        Request storage request = _requests[requestId];
        bool late = request.kind == RequestKind.Datum && request.status == RequestStatus.Fulfilled;
        if (!late) _requirePending(requestId, request);
        uint256 lastBlock = request.blockNumber + TIMEOUT_BLOCKS;
        if (block.number > lastBlock) revert RequestExpired(requestId, lastBlock);
        if (request.kind == RequestKind.Datum) {
            _answer(requestId, request, abi.decode(data, (int256)));
            return;
        }
        _close(requestId, request, RequestStatus.Fulfilled);
        emit EnergyDataFulfilled(requestId, msg.sender, request.subject, data);
        if (data.length > _READING_BYTES) {
            IMetering.P256Key[] memory keys = new IMetering.P256Key[](1);
            IMetering.SignedReading memory reading;
            (reading, keys[0]) = abi.decode(data, (IMetering.SignedReading, IMetering.P256Key));
            _submit(requestId, request.subject, reading, keys);
        } else {
            IMetering.SignedReading memory reading = abi.decode(data, (IMetering.SignedReading));
            _submit(requestId, request.subject, reading, new IMetering.P256Key[](0));
        }
    }

    /// @dev Hands the reading to Metering. One that Metering holds already (the gateway was faster) answers
    ///      the request just as well.
    function _submit(
        bytes32 requestId,
        bytes32 meterId,
        IMetering.SignedReading memory reading,
        IMetering.P256Key[] memory keys
    ) private {
        if (reading.meterId != meterId) revert WrongMeter(requestId, meterId, reading.meterId);
        IMetering.SignedReading[] memory readings = new IMetering.SignedReading[](1);
        readings[0] = reading;
        if (metering.submitReadings(readings, keys) == 1) return;
        bytes32[] memory meterIds = new bytes32[](1);
        meterIds[0] = meterId;
        IMetering.Register memory register = metering.registersOf(meterIds)[0];
        if (
            register.intervalEnd != reading.intervalEnd ||
            register.importWh != reading.importWh ||
            register.exportWh != reading.exportWh ||
            !metering.isAuthentic(reading, keys)
        ) revert ReadingRefused(requestId, meterId);
    }

    /// @dev Notes an answer. The one that completes the quorum makes the median the datum and closes the request; later
    ///      ones are only judged by it.
    function _answer(bytes32 requestId, Request storage request, int256 value) private {
        if (!_operators.contains(msg.sender)) revert NotOnPanel(msg.sender);
        if (value < type(int96).min || value > type(int96).max) revert DatumOutOfRange(requestId, value);
        uint256 count = request.answers;
        if (count == MAX_OPERATORS) revert TooManyAnswers(requestId, MAX_OPERATORS);
        mapping(uint256 index => Answer) storage answers = _answers[requestId];
        for (uint256 i = 0; i < count; ++i) {
            if (answers[i].operator == msg.sender) revert AnsweredAlready(requestId, msg.sender);
        }
        answers[count] = Answer(msg.sender, int96(value));
        request.answers = uint8(++count);
        ++_records[msg.sender].answered;
        emit DatumAnswered(requestId, msg.sender, value);

        uint256 quorum = request.quorum;
        bool decides = request.status == RequestStatus.Pending;
        if (decides && _seatedFirst(answers, count) < quorum) return;
        int256 median = _median(answers, quorum);
        uint256 unjudged = count - 1;
        if (decides) {
            unjudged = 0;
            _close(requestId, request, RequestStatus.Fulfilled);
            _data[request.subject] = Datum(median, uint64(block.timestamp), requestId);
            emit EnergyDataFulfilled(requestId, msg.sender, request.subject, abi.encode(median));
        }
        for (; unjudged < count; ++unjudged) {
            _judge(requestId, answers[unjudged], median);
        }
    }

    /// @dev Puts the answers of those who sit on the panel first, as they came, and counts them: whoever left it since
    ///      decides nothing any more.
    function _seatedFirst(
        mapping(uint256 index => Answer) storage answers,
        uint256 count
    ) private returns (uint256 seated) {
        seated = 0;
        for (uint256 i = 0; i < count; ++i) {
            Answer memory answer = answers[i];
            if (!_operators.contains(answer.operator)) continue;
            if (i != seated) {
                answers[i] = answers[seated];
                answers[seated] = answer;
            }
            ++seated;
        }
    }

    /// @dev The middle one of the first `quorum` answers; a quorum is odd, so nothing is rounded.
    function _median(mapping(uint256 index => Answer) storage answers, uint256 quorum) private view returns (int256) {
        uint256[] memory values = new uint256[](quorum);
        for (uint256 i = 0; i < quorum; ++i) {
            // With the sign bit turned over, unsigned numbers are in the order of signed ones.
            values[i] = uint256(int256(answers[i].value)) ^ _SIGN_BIT;
        }
        return int256(Arrays.sort(values)[quorum / 2] ^ _SIGN_BIT);
    }

    /// @dev Counts an answer further from the median than the tolerance, a share of the median, allows.
    function _judge(bytes32 requestId, Answer memory answer, int256 median) private {
        uint256 distance = SignedMath.abs(answer.value - median);
        if (distance * _WHOLE_BP <= SignedMath.abs(median) * _panel.toleranceBp) return;
        ++_records[answer.operator].outliers;
        emit DatumOutlier(requestId, answer.operator, answer.value, median);
    }

    /// @inheritdoc IOracleClient
    function timeOutRequests(bytes32[] calldata requestIds) external {
        _timeOut(requestIds);
    }

    function _timeOut(bytes32[] memory requestIds) private {
        for (uint256 i = 0; i < requestIds.length; ++i) {
            Request storage request = _requests[requestIds[i]];
            _requirePending(requestIds[i], request);
            uint256 lastBlock = request.blockNumber + TIMEOUT_BLOCKS;
            if (block.number <= lastBlock) revert RequestNotExpired(requestIds[i], lastBlock);
            _close(requestIds[i], request, RequestStatus.TimedOut);
            emit RequestTimedOut(requestIds[i]);
        }
    }

    function _close(bytes32 requestId, Request storage request, RequestStatus status) private {
        request.status = status;
        --_asked[request.requester].pending;
        // Always there: whoever comes here has seen the request pending.
        // slither-disable-next-line unused-return
        _pending.remove(requestId);
    }

    function _requirePending(bytes32 requestId, Request storage request) private view {
        if (request.status != RequestStatus.Pending) revert RequestNotPending(requestId, request.status);
    }

    // -------------------------------------------------------------------- panel

    /// @inheritdoc IOracleClient
    function setOperator(address operator, bool active) external restricted {
        Record storage record = _records[operator];
        uint64 requests = _panel.requests;
        if (active) {
            if (!_operators.add(operator)) revert PanelUnchanged(operator, active);
            if (_operators.length() > MAX_OPERATORS) revert TooManyOperators(MAX_OPERATORS);
            record.since = requests;
        } else {
            if (!_operators.remove(operator)) revert PanelUnchanged(operator, active);
            if (_operators.length() < _panel.quorum) revert InvalidQuorum(_panel.quorum, _operators.length());
            record.asked += requests - record.since;
        }
        emit OperatorSet(operator, active);
    }

    /// @inheritdoc IOracleClient
    function setPanel(uint8 quorum, uint16 toleranceBp) external restricted {
        if (quorum % 2 == 0 || quorum > _operators.length()) revert InvalidQuorum(quorum, _operators.length());
        if (toleranceBp > _WHOLE_BP) revert InvalidTolerance(toleranceBp, _WHOLE_BP);
        (_panel.quorum, _panel.toleranceBp) = (quorum, toleranceBp);
        emit PanelSet(quorum, toleranceBp);
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
    function nonceOf(address requester) external view returns (uint256) {
        return _asked[requester].made;
    }

    /// @inheritdoc IOracleClient
    function datumOf(bytes32 name) external view returns (Datum memory) {
        return _data[name];
    }

    /// @inheritdoc IOracleClient
    function panel() external view returns (address[] memory operators, uint8 quorum, uint16 toleranceBp) {
        return (_operators.values(), _panel.quorum, _panel.toleranceBp);
    }

    /// @inheritdoc IOracleClient
    function operatorOf(address account) external view returns (OperatorView memory) {
        Record memory record = _records[account];
        bool active = _operators.contains(account);
        uint64 asked = active ? record.asked + _panel.requests - record.since : record.asked;
        return OperatorView(active, asked, record.answered, record.outliers);
    }

    /// @inheritdoc IOracleClient
    function pendingRequests(uint256 offset, uint256 limit) external view returns (bytes32[] memory) {
        return _pending.values(offset, limit > type(uint256).max - offset ? type(uint256).max : offset + limit);
    }
}
