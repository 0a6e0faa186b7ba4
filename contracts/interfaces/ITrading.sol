// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

/// @title Trading: accounts, order book and epoch clearing
/// @notice The manual of the market. Participants hold GRID and a quote token here, enter orders during an
///         epoch, and every epoch is cleared once, at one price for all.
///
/// Units
/// - energy: Wh in orders; micro-Wh inside accounts ("energy units"); GRID wei outside, 1 Wh = 1e15 wei.
/// - price: tick 1..1023 per kWh; a tick is worth `tickWei` of the quote token, fixed at deployment.
///   Clearing prices are doubled ticks, so that half ticks are whole numbers.
/// - money: quote wei outside; inside "money units" of half a tick x 1 micro-Wh = `moneyUnitWei` wei.
/// - time: epoch = (block.timestamp - genesis) / epochSeconds. Only chain time counts.
///
/// What one must know
/// - Settlement is lazy. An account's balances change when it acts again or is settled by `settle`; views
///   always show balances as if settled now. There is nothing to claim.
/// - An ended epoch is cleared by whoever comes first: a keeper, the first order of a later epoch, or the
///   withdrawal, settlement or retirement of an account that had orders in it. The result is the same.
/// - A price without volume does not exist: an epoch without trade has no price.
/// - Last-minute cancels are allowed unless the market was deployed with a cancel cut-off.
///
/// How this is stopped: the regulator pauses a zone, which stops new orders, and nothing else. Clearing,
/// settlement, cancelling and withdrawal cannot be stopped by anyone. There is no proxy and no upgrade.
interface ITrading {
    /// @notice What is held for participants.
    enum Asset {
        /// GRID, 1 kWh = 1e18 wei.
        Energy,
        /// The quote token.
        Money
    }

    /// @notice An account, settled as of now.
    struct AccountView {
        /// 0 unknown, 1 active, 2 suspended.
        uint8 status;
        uint8 zone;
        /// Epoch of the newest orders; meaningful if `orderCount` > 0.
        uint32 epoch;
        /// Orders of that epoch, cancelled ones included, while it is open or something of them rests; 0 otherwise.
        uint8 orderCount;
        /// Lowest nonce a signed message may still use.
        uint32 nonce;
        /// Free energy in micro-Wh.
        uint256 energyFree;
        /// Free money in money units.
        uint256 moneyFree;
        /// Energy locked in open or resting asks, in micro-Wh.
        uint256 energyEscrow;
        /// Money locked in open or resting bids, in money units.
        uint256 moneyEscrow;
        /// Of the newest orders: 0 none stands longer than its epoch, 1 one was entered so, 2 the epoch is over and what is
        /// left of them rests, to be rolled.
        uint8 standing;
    }

    /// @notice One order of an account's newest order epoch.
    struct OrderView {
        uint256 id;
        bool isBuy;
        uint16 tick;
        /// What is left of it; 0 if that is nothing, or if it is cancelled.
        uint32 quantityWh;
        /// Last epoch in which it may trade.
        uint32 untilEpoch;
    }

    /// @notice Outcome of an epoch; all zero if nothing traded.
    struct EpochResult {
        /// Clearing price in half ticks per kWh.
        uint16 price2;
        /// Ends of the equilibrium interval, ticks.
        uint16 lowerTick;
        uint16 upperTick;
        /// Side rationed at the marginal tick: 0 neither, 1 bids, 2 asks.
        uint8 longSide;
        /// R: Wh of the rationed side filled at the marginal tick.
        uint64 filledWh;
        /// M: Wh the rationed side had at the marginal tick.
        uint64 offeredWh;
        /// V: Wh traded.
        uint64 volumeWh;
    }

    /// @notice A zone's state.
    struct ZoneView {
        bool open;
        bool paused;
        /// The newest epoch that has orders.
        uint32 epoch;
        /// Whether that epoch has been cleared.
        bool cleared;
        /// Orders counted against the cap in that epoch; a participant's first order never counts.
        uint32 countedOrders;
        /// Most counted orders an epoch may have; 0 = no cap.
        uint32 orderCap;
    }

    /// @notice Registry told of an account: its status and zone.
    event AccountSet(address indexed account, uint8 status, uint8 zone);
    /// @notice A zone was opened, paused or given another cap.
    event ZoneSet(uint8 indexed zone, bool paused, uint32 orderCap);
    /// @notice Tokens came in and are free in the account.
    event Deposited(address indexed account, Asset indexed asset, uint256 amountWei);
    /// @notice Tokens left a free balance.
    event Withdrawn(address indexed account, Asset indexed asset, address to, uint256 amountWei);
    /// @notice Orders entered; `orders` as in OrderCodec, the first with index `firstIndex` in its epoch.
    event OrdersEntered(address indexed account, uint256 indexed epoch, uint8 zone, uint8 firstIndex, uint48[] orders);
    /// @notice A relayed bundle of one order entered: the most frequent event there is, and so the shortest.
    /// @param placed place << 48 | order, with place as in BundleEntered and order as in OrderCodec.
    event SignedOrderEntered(address indexed account, uint256 placed);
    /// @notice A relayed bundle of several orders entered.
    /// @param place epoch << 48 | zone << 40 | index of the first order << 32 | nonce of the message.
    /// @param orders Six bytes an order, each as in OrderCodec.
    event BundleEntered(address indexed account, uint256 place, bytes orders);
    /// @notice A relayed bundle did not enter and changed nothing; its nonce can still be used.
    /// @param reason The error, with its values, that a direct call would have been refused with.
    event BundleSkipped(address indexed account, uint32 nonce, bytes reason);
    /// @notice Messages of `account` with this nonce or a lower one can no longer be used.
    event NonceUsed(address indexed account, uint32 nonce);
    /// @notice The account is a contract whose word on signatures counts, or no longer is one.
    event ContractWalletSet(address indexed account, bool enabled);
    /// @notice What was left of an account's standing orders entered an epoch, under ids of that epoch, from index 0 on.
    /// @param orders Six bytes an order, each as in OrderCodec; in the order of their earlier ids, dead ones left out.
    event OrdersRolled(address indexed account, uint256 indexed epoch, uint8 zone, bytes orders);
    /// @notice Standing orders were not rolled and rest as they did.
    /// @param reason The error, with its values, that entering orders would have been refused with.
    event RollSkipped(address indexed account, bytes reason);
    /// @notice Standing orders ended because less than the smallest order was left of each; their escrow is free. It says so
    ///         when an account is settled before they would have expired; no balance depends on it.
    /// @param indices A bit for each: 1 << its index in the epoch.
    event StandingOrdersEnded(address indexed account, uint256 indexed epoch, uint8 zone, uint128 indices);
    /// @notice An order was cancelled and its escrow is free; `order` is what stood there: as it was entered while its
    ///         epoch is open, what was left of it while it rests.
    event OrderCancelled(address indexed account, uint256 indexed epoch, uint8 zone, uint8 index, uint48 order);
    /// @notice An epoch was cleared. With `volumeWh` = 0 nothing traded and there is no price.
    event EpochCleared(uint8 indexed zone, uint256 indexed epoch, EpochResult result);

    /// @notice The tick value cannot be split into half ticks of one micro-Wh exactly.
    error TickNotRepresentable(uint256 tickWei);
    /// @notice Genesis lies in the future, the epoch length is zero, or epoch numbers would outgrow their 27 bits
    ///         within ten years.
    error InvalidEpochs(uint256 genesis, uint256 epochSeconds);
    /// @notice Cancelling would be closed all the time.
    error InvalidCancelCutoff(uint256 cutoffSeconds, uint256 epochSeconds);
    /// @notice A participant is active (1) or suspended (2).
    error InvalidStatus(uint8 status);
    /// @notice Registry does not know this account.
    error NotRegistered(address account);
    /// @notice A distributor suspended this account: it may cancel, settle and withdraw only.
    error AccountSuspended(address account);
    /// @notice The zone was never opened by the regulator.
    error UnknownZone(uint8 zone);
    /// @notice The zone is open already.
    error ZoneAlreadyOpen(uint8 zone);
    /// @notice The regulator paused this zone: no new orders.
    error ZonePaused(uint8 zone);
    /// @notice The cap is too large; 0 means none.
    error InvalidOrderCap(uint256 orderCap, uint256 maximum);
    /// @notice A zone moves only without orders in the open epoch, cancelled ones included, and without standing ones: wait
    ///         for their end, or cancel what rests.
    error UnsettledOrders(address account, uint256 epoch);
    /// @notice The amount is not a whole number of accounting units of `unitWei`; nothing is ever rounded away.
    error InexactAmount(Asset asset, uint256 amountWei, uint256 unitWei);
    /// @notice The token delivered another amount than asked (a fee on transfer, say); it is not accepted.
    error UnexpectedAmountReceived(Asset asset, uint256 expectedWei, uint256 receivedWei);
    /// @notice The market-wide cap on what the account words can hold would be passed.
    error MarketCapReached(Asset asset, uint256 totalUnits, uint256 maximumUnits);
    /// @notice Not enough free balance; both figures in accounting units.
    error InsufficientFree(address account, Asset asset, uint256 freeUnits, uint256 neededUnits);
    /// @notice No order in the call.
    error NoOrders();
    /// @notice Ticks run from 1 to 1023.
    error InvalidTick(uint256 tick);
    /// @notice Orders run from 100 Wh to 10,000,000 Wh.
    error InvalidQuantity(uint256 quantityWh);
    /// @notice An order stands at most 96 epochs beyond the one it enters.
    error InvalidLife(uint256 life);
    /// @notice Bits are set that no order has.
    error InvalidOrder(uint256 order);
    /// @notice A participant has at most 100 orders an epoch, cancelled ones included.
    error TooManyOrders(address account, uint256 count);
    /// @notice The zone's cap for this epoch is reached; a participant's first order still enters.
    error EpochFull(uint8 zone, uint256 epoch, uint256 orderCap);
    /// @notice The batch is larger than a transaction can surely hold: send several.
    error BatchTooLarge(uint256 size, uint256 maximum);
    /// @notice The account trades in another zone than the bundle was relayed for.
    error OtherZone(address account, uint8 accountZone, uint8 zone);
    /// @notice The bundle was signed for other epochs.
    error OutsideEpochs(uint256 epoch, uint256 firstEpoch, uint256 lastEpoch);
    /// @notice The nonce is below the lowest that the account's messages may still use, or it is the last number of 32
    ///         bits, which no message may use.
    error InvalidNonce(address account, uint32 nonce, uint32 lowest);
    /// @notice The account did not sign this.
    error BadSignature(address account);
    /// @notice The message was signed for an earlier time.
    error DeadlinePassed(uint256 deadline);
    /// @notice Another order than the signed one stands there.
    error OtherOrder(uint256 orderId, uint48 order, uint48 signedOrder);
    /// @notice Volume at one tick would pass 2**38 Wh (275 GWh): enter at another tick.
    error TickFull(uint256 side, uint256 tick, uint256 volumeWh);
    /// @notice The order is of another account.
    error NotOrderOwner(uint256 orderId, address account);
    /// @notice The order does not exist, is cancelled, or its epoch has ended and nothing of it rests under this id.
    error OrderNotOpen(uint256 orderId);
    /// @notice Cancelling closes `cutoffSeconds` before the epoch's end.
    error CancelClosed(uint256 orderId, uint256 cutoffSeconds);
    /// @notice No ended epoch of this zone waits to be cleared.
    error NothingToClear(uint8 zone, uint256 currentEpoch);
    /// @notice Arrays of one call differ in length.
    error LengthMismatch(uint256 accounts, uint256 amounts);
    /// @notice The zero address cannot receive.
    error ZeroAddress();

    /// @notice Brings tokens in; needs an ERC-20 allowance. Active participants only.
    /// @param amountWei Whole accounting units: 1e9 GRID wei, or `moneyUnitWei` quote wei.
    function deposit(Asset asset, uint256 amountWei) external;

    /// @notice As `deposit`, with the allowance given by an ERC-2612 signature.
    /// @dev A permit already used by somebody else does not make the call fail if the allowance stands.
    function depositWithPermit(
        Asset asset,
        uint256 amountWei,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice As `depositWithPermit` for the account that signed the permit; anyone may relay it, and the tokens are the
    ///         account's. The permit must be accepted in this very call: one that somebody used up before is refused,
    ///         for an allowance alone is no consent to a stranger's call. Then another permit is needed.
    function depositWithPermitFor(
        address account,
        Asset asset,
        uint256 amountWei,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Takes free balance out. Works in every state: suspended, paused, before clearing.
    function withdraw(Asset asset, uint256 amountWei, address to) external;

    /// @notice As `withdraw`, relayed: the account signed `Withdraw`. To somebody else's address it is a payment.
    /// @param nonce See `cancelUpTo`; it is used up.
    /// @param deadline Last second in which the message may be used, Unix.
    /// @param signature See `enterBundles`.
    function withdrawFor(
        address account,
        Asset asset,
        uint256 amountWei,
        address to,
        uint32 nonce,
        uint64 deadline,
        bytes calldata signature
    ) external;

    /// @notice Offers energy at `tick` or better; locks it until the epoch is settled or the order cancelled.
    /// @return orderId See `orderIdOf`.
    function createSellOrder(uint16 tick, uint32 quantityWh) external returns (uint256 orderId);

    /// @notice Bids for energy at `tick` or better; locks the money at the limit.
    /// @return orderId See `orderIdOf`.
    function createBuyOrder(uint16 tick, uint32 quantityWh) external returns (uint256 orderId);

    /// @notice Enters several orders, all or none.
    /// @param orders As in OrderCodec: quantityWh | tick << 24 | side << 34 (0 bid, 1 ask) | life << 35. An order with a
    ///        life stands on for so many further epochs, at most 96, if it is rolled: see `roll`.
    /// @return firstOrderId Id of the first; the others follow by index.
    function createOrders(uint48[] calldata orders) external returns (uint256 firstOrderId);

    /// @notice Enters signed bundles of many participants, in the order in which they stand. Anyone may relay them.
    /// @dev A bundle enters whole or not at all. It is checked in the order status, zone, epoch, nonce, number of orders,
    ///      cap, each order, balance, signature, volume of the tick; one that fails is skipped (BundleSkipped), changes
    ///      nothing and disturbs no other. Entering uses up its nonce and every lower one. Sorted by tick a batch is
    ///      cheapest, for then neighbours share the book's words.
    ///
    ///      A signature is 64 bytes, r and s with the parity of v in the highest bit (EIP-2098), of the account's own
    ///      key; s must be in the lower half. Contracts that called `setContractWallet` may take any other bytes.
    /// @param zone The zone of all of them.
    /// @param bundles As in BundleCodec, at most MAX_BATCH_BYTES.
    /// @return entered How many entered.
    function enterBundles(uint8 zone, bytes calldata bundles) external returns (uint256 entered);

    /// @notice Makes every signed message of the sender with this nonce or a lower one worthless.
    /// @dev Nonces increase and gaps are allowed: a message with nonce n may be used while n is at least the account's
    ///      lowest, and using it makes n + 1 the lowest. 2**32 - 1 is no message's.
    function cancelUpTo(uint32 nonce) external;

    /// @notice As `cancelUpTo`, relayed: the account signed `CancelUpTo`.
    function cancelUpToFor(address account, uint32 nonce, bytes calldata signature) external;

    /// @notice The sender, a contract, wants to be asked about signatures that are not of its address's key (ERC-1271).
    /// @dev It is asked with WALLET_GAS of gas, in a static call. Without this no contract is ever asked.
    function setContractWallet(bool enabled) external;

    /// @notice As `cancelOrder`, relayed: the account signed `CancelOrder`, which names the order and what is in it. An id
    ///         stands for one order for ever, so the message can be used once and needs no nonce.
    /// @param order What was signed, as in OrderCodec; its life is not looked at. While the order's epoch is open it must be
    ///        what stands under the id; afterwards less may be left, since some of it may have traded meanwhile.
    function cancelOrderFor(uint256 orderId, uint48 order, bytes calldata signature) external;

    /// @notice Cancels an open order, or what rests of a standing one; its volume leaves the book, if it is in it, and its
    ///         escrow is free at once. The cut-off concerns open orders only.
    function cancelOrder(uint256 orderId) external;

    /// @notice Clears the zone's ended epoch. Market makers only; anyone else reaches the same by acting.
    function matchOrders(uint8 zone) external;

    /// @notice Settles accounts now. Nobody needs it; it changes no balance that the views show.
    function settle(address[] calldata accounts) external;

    /// @notice Enters what is left of the accounts' standing orders into the current epoch, as orders of that epoch with new
    ///         ids. Anyone may do so for anyone, any number of times: once an epoch it has an effect.
    /// @dev An account's orders enter all or none, under the rules of entering: limits, cap, pause, status. Those that may
    ///      not enter are skipped (RollSkipped) and rest; no account disturbs another. Accounts without standing orders of
    ///      an ended epoch are left alone. The account's own entering, direct or signed, rolls first, and is refused if
    ///      that is. An epoch in which nobody rolls is missed.
    /// @return rolled Accounts whose orders entered.
    function roll(address[] calldata accounts) external returns (uint256 rolled);

    /// @notice Registry: sets status and zone.
    function setAccount(address account, uint8 status, uint8 zone) external;

    /// @notice Metering: credits minted GRID, whole Wh, to free balances. The tokens are here already.
    function credit(address[] calldata accounts, uint256[] calldata energyWh) external;

    /// @notice Metering: burns free GRID, whole Wh, of each account up to its maximum.
    /// @return retiredWh What each account gave.
    function retire(
        address[] calldata accounts,
        uint256[] calldata maximumWh
    ) external returns (uint256[] memory retiredWh);

    /// @notice Regulator: opens a zone.
    function openZone(uint8 zone, uint32 orderCap) external;

    /// @notice Regulator: another cap, from the next counted order on.
    function setOrderCap(uint8 zone, uint32 orderCap) external;

    /// @notice Regulator: stops or resumes entry of orders in a zone.
    function setPaused(uint8 zone, bool paused) external;

    /// @notice The GRID token.
    function gridToken() external view returns (address);

    /// @notice The quote token.
    function quoteToken() external view returns (address);

    /// @notice Start of epoch 0, Unix seconds.
    function genesis() external view returns (uint256);

    /// @notice Length of an epoch in seconds.
    function epochSeconds() external view returns (uint256);

    /// @notice Value of one tick in quote wei per kWh.
    function tickWei() external view returns (uint256);

    /// @notice Value of one money unit in quote wei.
    function moneyUnitWei() external view returns (uint256);

    /// @notice Seconds before an epoch's end from which orders cannot be cancelled.
    function cancelCutoffSeconds() external view returns (uint256);

    /// @notice The epoch of this block.
    function currentEpoch() external view returns (uint256);

    /// @notice Energy and money that entered by deposit or credit and have not left, in accounting units.
    ///         The token balances above that are donations.
    function totals() external view returns (uint256 energyUnits, uint256 moneyUnits);

    /// @notice Accounts as if settled now.
    function accountsOf(address[] calldata accounts) external view returns (AccountView[] memory);

    /// @notice The account's orders that are open, or ended but not yet settled; of standing orders of an ended epoch, what
    ///         rests, or would if they were settled now.
    function ordersOf(address account) external view returns (OrderView[] memory);

    /// @notice Id of an order: epoch << 168 | index << 160 | account.
    function orderIdOf(address account, uint256 epoch, uint256 index) external pure returns (uint256);

    /// @notice Volumes by tick of the current epoch's book; element 0 is tick 1. Entries in Wh.
    function book(uint8 zone) external view returns (uint64[] memory bidsWh, uint64[] memory asksWh);

    /// @notice What the open book would clear at now.
    function indicativeResult(uint8 zone) external view returns (EpochResult memory);

    /// @notice Outcome of an ended epoch, cleared already or not.
    function resultOf(uint8 zone, uint256 epoch) external view returns (EpochResult memory);

    /// @notice A zone's state.
    function zoneOf(uint8 zone) external view returns (ZoneView memory);

    /// @notice Whether an ended epoch waits to be cleared, and which.
    function clearingDue(uint8 zone) external view returns (bool due, uint256 epoch);
}
