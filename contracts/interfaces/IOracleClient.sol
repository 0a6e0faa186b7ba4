// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

/// @title OracleClient: requests for energy data, and upkeep
/// @notice Participants ask for data and oracle operators deliver it within 100 blocks; and Chainlink
///         Automation, or anyone, keeps the market moving through `checkUpkeep` and `performUpkeep`.
///
/// What one must know
/// - A meter's reading is believed because the meter signed it, not because an operator delivered it.
/// - A datum (tariff, Ft, grid status) nobody signs. Every operator of the panel is asked; once a quorum of them,
///   an odd number, has answered, the datum is the median of those answers. It is false only if more than half of
///   them are. The data and their units are listed in docs/protocol.md.
/// - Answers that come after the quorum, within the 100 blocks, change nothing but are judged like the others.
/// - A request that times out blocks nothing and can be made again.
///
/// How this is stopped: the oracle operator role is withdrawn; without this contract's own market maker role
/// its upkeep clears nothing, while the first action of a later epoch still does.
interface IOracleClient {
    /// @notice What is asked for.
    enum RequestKind {
        /// The newest reading of the meter named by the subject.
        Meter,
        /// A number named by the subject, decided by the panel.
        Datum
    }

    /// @notice Where a request stands.
    enum RequestStatus {
        None,
        Pending,
        Fulfilled,
        TimedOut
    }

    /// @notice What `performUpkeep` is asked to do.
    enum Upkeep {
        /// Payload: abi.encode(uint8 zone).
        Clear,
        /// Payload: abi.encode(bytes32[] requestIds).
        TimeOut,
        /// Payload: abi.encode(address[] accounts).
        Retire
    }

    /// @notice A request.
    struct Request {
        address requester;
        RequestKind kind;
        RequestStatus status;
        /// Block of the request; it can be fulfilled for 100 more.
        uint64 blockNumber;
        /// Answers that decide a datum, as of the request; 0 for a meter.
        uint8 quorum;
        /// Answers that have come.
        uint8 answers;
        bytes32 subject;
    }

    /// @notice A number that the panel decided.
    struct Datum {
        int256 value;
        /// Chain time of the decision; 0 if there was none.
        uint64 deliveredAt;
        bytes32 requestId;
    }

    /// @notice What an operator of the panel has done so far. What it was asked and did not answer is silence,
    ///         but for requests that are younger than 100 blocks.
    struct OperatorView {
        /// Whether it is on the panel now.
        bool active;
        /// Requests for data made while it was on the panel.
        uint64 asked;
        uint64 answered;
        /// Answers beyond the tolerance.
        uint64 outliers;
    }

    /// @notice Data was asked for.
    event EnergyDataRequested(
        bytes32 indexed requestId,
        address indexed requester,
        RequestKind kind,
        bytes32 indexed subject
    );
    /// @notice An operator answered a request for a datum.
    event DatumAnswered(bytes32 indexed requestId, address indexed operator, int256 value);
    /// @notice An answer was further from the median than the tolerance allows.
    event DatumOutlier(bytes32 indexed requestId, address indexed operator, int256 value, int256 median);
    /// @notice An operator joined the panel or left it.
    event OperatorSet(address indexed operator, bool active);
    /// @notice The panel's parameters changed, for requests to come; the tolerance at once.
    event PanelSet(uint8 quorum, uint16 toleranceBp);
    /// @notice A request was answered: by a meter's reading, `data` as handed to `fulfillEnergyData`; or by the
    ///         quorum of the panel, `data` being abi.encode(int256 median), `operator` the one who completed it.
    event EnergyDataFulfilled(bytes32 indexed requestId, address indexed operator, bytes32 indexed subject, bytes data);
    /// @notice A request was given up after 100 blocks.
    event RequestTimedOut(bytes32 indexed requestId);

    /// @notice Only active participants and oracle operators may ask.
    error NotAllowedToRequest(address account);
    /// @notice An account has so many requests pending: wait for them.
    error TooManyRequests(address account, uint256 maximum);
    /// @notice No meter has this id.
    error UnknownMeter(bytes32 meterId);
    /// @notice A datum needs a name.
    error EmptySubject();
    /// @notice Only operators of the panel answer requests for data.
    error NotOnPanel(address account);
    /// @notice An operator answers a request once.
    error AnsweredAlready(bytes32 requestId, address operator);
    /// @notice A request takes so many answers.
    error TooManyAnswers(bytes32 requestId, uint256 maximum);
    /// @notice The number does not fit 96 bits.
    error DatumOutOfRange(bytes32 requestId, int256 value);
    /// @notice The operator is on the panel already, or was not on it.
    error PanelUnchanged(address operator, bool active);
    /// @notice The panel has so many seats.
    error TooManyOperators(uint256 maximum);
    /// @notice A quorum is odd, and no more than the panel's operators.
    error InvalidQuorum(uint8 quorum, uint256 operators);
    /// @notice A tolerance above the whole.
    error InvalidTolerance(uint16 toleranceBp, uint256 maximumBp);
    /// @notice The request does not exist, is fulfilled, or was timed out.
    error RequestNotPending(bytes32 requestId, RequestStatus status);
    /// @notice More than 100 blocks have passed: ask again.
    error RequestExpired(bytes32 requestId, uint256 lastBlock);
    /// @notice 100 blocks have not passed yet.
    error RequestNotExpired(bytes32 requestId, uint256 lastBlock);
    /// @notice The delivered reading is of another meter.
    error WrongMeter(bytes32 requestId, bytes32 expected, bytes32 delivered);
    /// @notice Metering refused the reading and holds another one; its event tells why.
    error ReadingRefused(bytes32 requestId, bytes32 meterId);
    /// @notice `performData` names no upkeep.
    error UnknownUpkeep(uint8 upkeep);
    /// @notice There is nothing to do any more: somebody else did it.
    error NothingToDo();

    /// @notice Asks for a meter's newest reading or for a datum. Active participants and oracle operators.
    /// @param kind What is asked for.
    /// @param subject Meter id, or the datum's name as bytes32.
    /// @return requestId Names the request: the Keccak hash of the caller's 20 bytes and its nonce's 32. Chainlink's
    ///         Operator derives ids alike. Whoever asks it with the same nonce, naming this contract and
    ///         `fulfillEnergyData` as callback, has the request answered by it, if it is an oracle operator.
    function requestEnergyData(RequestKind kind, bytes32 subject) external returns (bytes32 requestId);

    /// @notice Oracle operator: delivers a reading, which counts as if submitted by a minter, or, if on the panel,
    ///         an answer to a request for a datum.
    /// @param requestId Names the request.
    /// @param data For a meter abi.encode(IMetering.SignedReading), followed by its IMetering.P256Key if it has
    ///        such a key; for a datum abi.encode(int256), of at most 96 bits.
    function fulfillEnergyData(bytes32 requestId, bytes calldata data) external;

    /// @notice Regulator: an operator joins the panel or leaves it. It needs the oracle operator's role besides. What
    ///         one that left has answered decides no request any more that is still pending.
    function setOperator(address operator, bool active) external;

    /// @notice Regulator: how the panel decides.
    /// @param quorum Answers that decide; odd, at most the panel's operators. Holds for requests to come.
    /// @param toleranceBp Distance to the median from which on an answer is an outlier, in basis points of the
    ///        median; at most 10,000.
    function setPanel(uint8 quorum, uint16 toleranceBp) external;

    /// @notice Gives up requests older than 100 blocks. Anyone.
    function timeOutRequests(bytes32[] calldata requestIds) external;

    /// @notice Chainlink AutomationCompatible: whether upkeep is needed, and which.
    /// @param checkData Empty for zone 1 and the first 100 participants, or
    ///        abi.encode(uint8 zone, uint256 offset, uint256 limit) for others.
    function checkUpkeep(bytes calldata checkData) external view returns (bool upkeepNeeded, bytes memory performData);

    /// @notice Chainlink AutomationCompatible: does what `checkUpkeep` found. Anyone; everything is checked again.
    /// @param performData abi.encode(Upkeep, bytes payload).
    function performUpkeep(bytes calldata performData) external;

    /// @notice A request by id.
    function requestOf(bytes32 requestId) external view returns (Request memory);

    /// @notice Nonce of an account's next request: how many it has made.
    function nonceOf(address requester) external view returns (uint256);

    /// @notice The newest value of a datum that was decided.
    function datumOf(bytes32 name) external view returns (Datum memory);

    /// @notice Who is on the panel, and how it decides.
    function panel() external view returns (address[] memory operators, uint8 quorum, uint16 toleranceBp);

    /// @notice What an operator has done so far; all zero for an account that never was one.
    function operatorOf(address account) external view returns (OperatorView memory);

    /// @notice Most operators of a panel, and most answers to a request.
    function MAX_OPERATORS() external view returns (uint256);

    /// @notice A page of pending requests, in no particular order; short or empty at the end.
    function pendingRequests(uint256 offset, uint256 limit) external view returns (bytes32[] memory);
}
