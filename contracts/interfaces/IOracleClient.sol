// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

/// @title OracleClient: requests for energy data, and upkeep
/// @notice Participants ask for data and oracle operators deliver it within 100 blocks; and Chainlink
///         Automation, or anyone, keeps the market moving through `checkUpkeep` and `performUpkeep`.
///
/// What one must know
/// - A meter's reading is believed because the meter signed it, not because an operator delivered it.
/// - A datum (tariff, Ft, grid status) nobody signs: it is as good as the operator that delivered it.
/// - A request that times out blocks nothing and can be made again.
///
/// How this is stopped: the oracle operator role is withdrawn; without this contract's own market maker role
/// its upkeep clears nothing, while the first action of a later epoch still does.
interface IOracleClient {
    /// @notice What is asked for.
    enum RequestKind {
        /// The newest reading of the meter named by the subject.
        Meter,
        /// A number named by the subject.
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
        bytes32 subject;
    }

    /// @notice A delivered number.
    struct Datum {
        int256 value;
        /// Chain time of delivery; 0 if never delivered.
        uint64 deliveredAt;
        bytes32 requestId;
    }

    /// @notice Data was asked for.
    event EnergyDataRequested(
        bytes32 indexed requestId,
        address indexed requester,
        RequestKind kind,
        bytes32 indexed subject
    );
    /// @notice Data was delivered; `data` as handed to `fulfillEnergyData`.
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
    /// @return requestId Names the request.
    function requestEnergyData(RequestKind kind, bytes32 subject) external returns (bytes32 requestId);

    /// @notice Oracle operator: delivers. The reading counts as if submitted by a minter.
    /// @param requestId Names the request.
    /// @param data For a meter abi.encode(IMetering.SignedReading), for a datum abi.encode(int256).
    function fulfillEnergyData(bytes32 requestId, bytes calldata data) external;

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

    /// @notice The newest delivered value of a datum.
    function datumOf(bytes32 name) external view returns (Datum memory);

    /// @notice A page of pending requests, in no particular order; short or empty at the end.
    function pendingRequests(uint256 offset, uint256 limit) external view returns (bytes32[] memory);
}
