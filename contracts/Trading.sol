// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {StorageSlot} from "@openzeppelin/contracts/utils/StorageSlot.sol";

import {Auction} from "./Auction.sol";
import {IGridToken} from "./interfaces/IGridToken.sol";
import {ITrading} from "./interfaces/ITrading.sol";
import {Accounts} from "./libraries/Accounts.sol";
import {Book} from "./libraries/Book.sol";
import {BundleCodec} from "./libraries/BundleCodec.sol";
import {Clearing} from "./libraries/Clearing.sol";
import {Messages} from "./libraries/Messages.sol";
import {OrderCodec} from "./libraries/OrderCodec.sol";
import {Standing} from "./libraries/Standing.sol";
import {Zones} from "./libraries/Zones.sol";

/// @title Trading
/// @notice See ITrading, which is the manual. Algorithm and arithmetic are in Book and Clearing; this
///         contract handles accounts, money, access and events.
contract Trading is ITrading, AccessManaged, EIP712, ReentrancyGuardTransient {
    using Accounts for Accounts.Account;
    using Book for Book.State;
    using BundleCodec for BundleCodec.Bundle;
    using Zones for Zones.Zone;
    using SafeERC20 for IERC20;

    // ---------------------------------------------------------------- constants

    /// @notice Smallest order: 0.1 kWh.
    uint256 public constant MIN_ORDER_WH = 100;
    /// @notice Largest order: 10,000 kWh.
    uint256 public constant MAX_ORDER_WH = 10_000_000;
    /// @notice Orders per participant and epoch, cancelled ones included.
    uint256 public constant MAX_ORDERS = 100;
    /// @notice Most epochs that an order stands beyond the one it enters: a day of quarter hours.
    uint256 public constant MAX_LIFE = 96;
    /// @notice Bytes of bundles in one call: about 950 of a single order, or 140 of a hundred, at the edge of what a
    ///         transaction holds (EIP-7825).
    uint256 public constant MAX_BATCH_BYTES = 98_304;
    /// @notice Gas that a contract wallet may use to check a signature.
    uint256 public constant WALLET_GAS = 100_000;

    /// @dev Of the EIP-712 domain.
    string private constant _NAME = "Busbar Trading";
    string private constant _VERSION = "1";
    /// @dev GRID wei in a micro-Wh: 1e18 wei = 1 kWh = 1e9 micro-Wh.
    uint256 private constant _ENERGY_UNIT_WEI = 1e9;
    /// @dev GRID wei in a Wh.
    uint256 private constant _WH_WEI = 1e15;
    /// @dev 99 further orders, six a word.
    // slither-disable-next-line unused-state -- the length of an array below, which slither does not count
    uint256 private constant _FURTHER_WORDS = 17;
    /// @dev No order has all these bits: a direct cancel names an order by its id alone.
    uint256 private constant _ANY_ORDER = type(uint256).max;
    /// @dev A market whose epoch numbers would outgrow their 27 bits within ten years is refused. With epochs
    ///      of 60 s they last 255 years.
    uint256 private constant _HORIZON_SECONDS = 3650 days;

    /// @inheritdoc ITrading
    address public immutable gridToken;
    /// @inheritdoc ITrading
    address public immutable quoteToken;
    /// @inheritdoc ITrading
    uint256 public immutable genesis;
    /// @inheritdoc ITrading
    uint256 public immutable epochSeconds;
    /// @inheritdoc ITrading
    uint256 public immutable tickWei;
    /// @inheritdoc ITrading
    uint256 public immutable moneyUnitWei;
    /// @inheritdoc ITrading
    uint256 public immutable cancelCutoffSeconds;

    // ------------------------------------------------------------------ storage

    /// @dev Account words, see Accounts.
    mapping(address account => uint256 word) private _accounts;
    /// @dev Second and further orders of an account's newest epoch, six to a word, used again every epoch.
    ///      Live are the first `count - 1` of them; a word is overwritten whole when its first order enters.
    mapping(address account => uint256[_FURTHER_WORDS]) private _furtherOrders;
    /// @dev Zone words, see Zones.
    mapping(uint256 zone => uint256 word) private _zones;
    mapping(uint256 zone => Book.State) private _books;
    /// @dev Results by zone << 32 | epoch, kept for ever; see Clearing. Nothing is written without trade.
    mapping(uint256 zoneEpoch => uint256 word) private _results;
    /// @dev Energy units (micro-Wh) and money units that entered and have not left.
    uint128 private _energyTotal;
    uint128 private _moneyTotal;

    /// @param authority Access manager.
    /// @param gridToken_ GRID, 1 kWh = 1e18 wei.
    /// @param quoteToken_ Money; any ERC-20 without fee on transfer.
    /// @param tickWei_ Quote wei per kWh in a tick; a multiple of 2e9, so that half a tick x 1 micro-Wh is whole.
    /// @param genesis_ Start of epoch 0, Unix seconds, not in the future.
    /// @param epochSeconds_ Length of an epoch.
    /// @param cancelCutoffSeconds_ Seconds before the end of an epoch in which no order can be cancelled.
    constructor(
        address authority,
        address gridToken_,
        address quoteToken_,
        uint256 tickWei_,
        uint256 genesis_,
        uint256 epochSeconds_,
        uint256 cancelCutoffSeconds_
    ) AccessManaged(authority) EIP712(_NAME, _VERSION) {
        if (gridToken_ == address(0) || quoteToken_ == address(0)) revert ZeroAddress();
        // 1 kWh = 1e9 micro-Wh, and half a tick: [R1]
        if (tickWei_ == 0 || tickWei_ % 2e9 != 0) revert TickNotRepresentable(tickWei_);
        if (
            epochSeconds_ == 0 ||
            genesis_ > block.timestamp ||
            (block.timestamp + _HORIZON_SECONDS - genesis_) / epochSeconds_ > Accounts.MAX_EPOCH
        ) revert InvalidEpochs(genesis_, epochSeconds_);
        if (cancelCutoffSeconds_ >= epochSeconds_) revert InvalidCancelCutoff(cancelCutoffSeconds_, epochSeconds_);
        gridToken = gridToken_;
        quoteToken = quoteToken_;
        tickWei = tickWei_;
        moneyUnitWei = tickWei_ / 2e9;
        genesis = genesis_;
        epochSeconds = epochSeconds_;
        cancelCutoffSeconds = cancelCutoffSeconds_;
    }

    // ------------------------------------------------------------------ deposit

    /// @inheritdoc ITrading
    function deposit(Asset asset, uint256 amountWei) external nonReentrant {
        _deposit(msg.sender, asset, amountWei);
    }

    /// @inheritdoc ITrading
    function depositWithPermit(
        Asset asset,
        uint256 amountWei,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant {
        // Whoever saw the permit may have used it first: then the allowance stands and the deposit goes on.
        // The token is the market's own, named at deployment, the guard is up, and the account is read afterwards.
        // slither-disable-start reentrancy-benign
        // solhint-disable-next-line no-empty-blocks
        try IERC20Permit(_token(asset)).permit(msg.sender, address(this), amountWei, deadline, v, r, s) {} catch {}
        // slither-disable-end reentrancy-benign
        _deposit(msg.sender, asset, amountWei);
    }

    /// @inheritdoc ITrading
    function depositWithPermitFor(
        address account,
        Asset asset,
        uint256 amountWei,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant {
        // The permit is the only consent there is, so a failed one is not passed over as above: whoever left an
        // allowance standing must not have it used by strangers.
        // slither-disable-next-line reentrancy-benign -- as in depositWithPermit
        IERC20Permit(_token(asset)).permit(account, address(this), amountWei, deadline, v, r, s);
        _deposit(account, asset, amountWei);
    }

    function _deposit(address account, Asset asset, uint256 amountWei) private {
        Accounts.Account memory a = Accounts.unpack(_accounts[account]);
        _requireActive(account, a.status);
        uint256 units = _toUnits(asset, amountWei);
        _addTotal(asset, units);
        if (asset == Asset.Energy) a.energy += units;
        else a.money += units;
        _accounts[account] = a.pack();
        emit Deposited(account, asset, amountWei);

        IERC20 token = IERC20(_token(asset));
        uint256 before = token.balanceOf(address(this));
        // slither-disable-next-line arbitrary-send-erc20 -- the sender, or the owner of a permit that was just accepted
        token.safeTransferFrom(account, address(this), amountWei);
        uint256 received = token.balanceOf(address(this)) - before;
        if (received != amountWei) revert UnexpectedAmountReceived(asset, amountWei, received);
    }

    // -------------------------------------------------------------------- enter

    /// @inheritdoc ITrading
    function createSellOrder(uint16 tick, uint32 quantityWh) external returns (uint256 orderId) {
        return _enterOne(OrderCodec.ASK, tick, quantityWh);
    }

    /// @inheritdoc ITrading
    function createBuyOrder(uint16 tick, uint32 quantityWh) external returns (uint256 orderId) {
        return _enterOne(OrderCodec.BID, tick, quantityWh);
    }

    /// @inheritdoc ITrading
    function createOrders(uint48[] calldata orders) external returns (uint256 firstOrderId) {
        return _enter(msg.sender, orders);
    }

    function _enterOne(uint256 side, uint256 tick, uint256 quantityWh) private returns (uint256) {
        // Checked before packing: a value too wide would spill into the next field.
        _requireValid(tick, quantityWh);
        uint48[] memory orders = new uint48[](1);
        orders[0] = uint48(OrderCodec.pack(side, tick, quantityWh));
        return _enter(msg.sender, orders);
    }

    function _enter(address account, uint48[] memory orders) private returns (uint256 firstOrderId) {
        if (orders.length == 0) revert NoOrders();
        uint256 word = _accounts[account];
        _requireActive(account, Accounts.statusOf(word));
        uint256 epoch = currentEpoch();
        uint256 zoneId = Accounts.zoneOf(word);
        Zones.Zone memory zone = _rolled(zoneId, epoch);
        if (zone.paused) revert ZonePaused(uint8(zoneId));
        bytes memory refusal;
        bool changed = false;
        if (_mustRoll(word, epoch)) {
            (word, refusal) = _roll(account, zone, epoch);
            _revertIf(refusal);
            changed = true;
        }
        (word, refusal) = _admit(account, word, zone, Clearing.unpack(zone.result), epoch, orders);
        _revertIf(refusal);
        uint256 firstIndex = Accounts.countOf(word);
        if (_count(zone, epoch, _counted(firstIndex, orders.length))) changed = true;
        if (changed) _zones[zoneId] = zone.pack();
        _revertIf(_place(account, word, _books[zoneId], epoch, orders));
        emit OrdersEntered(account, epoch, uint8(zoneId), uint8(firstIndex), orders);
        return orderIdOf(account, epoch, firstIndex);
    }

    /// @dev The account word brought to the epoch and without the orders' escrow, if they may enter; otherwise the error
    ///      that says why not. Nothing is stored.
    /// @param newest The zone's newest result.
    function _admit(
        address account,
        uint256 word,
        Zones.Zone memory zone,
        Clearing.Result memory newest,
        uint256 epoch,
        uint48[] memory orders
    ) private view returns (uint256, bytes memory refusal) {
        unchecked {
            uint256 count = Accounts.countOf(word);
            if (Accounts.epochOf(word) != epoch) {
                if (count != 0) {
                    if (Accounts.epochOf(word) != zone.resultEpoch) {
                        newest = Clearing.unpack(_results[_key(Accounts.zoneOf(word), Accounts.epochOf(word))]);
                    }
                    (uint256 energyBack, uint256 moneyBack) = _proceeds(account, Accounts.firstOf(word), count, newest);
                    word = Accounts.plus(word, energyBack, moneyBack);
                    count = 0;
                }
                word = Accounts.withEpoch(word, epoch);
            }
            uint256 total = count + orders.length;
            // Alone and the first of the epoch, which is most orders: nothing to count.
            if (total != 1) {
                if (total > MAX_ORDERS) {
                    return (word, abi.encodeWithSelector(TooManyOrders.selector, account, total));
                }
                uint256 counted = _counted(count, orders.length);
                if (counted != 0 && zone.orderCap != 0 && _countedBefore(zone, epoch) + counted > zone.orderCap) {
                    uint256 zoneId = Accounts.zoneOf(word);
                    return (word, _refusal(EpochFull.selector, zoneId, epoch, zone.orderCap));
                }
            }
            // At most 100 orders of 2**55 units each: no sum overflows.
            uint256 energyNeeded = 0;
            uint256 moneyNeeded = 0;
            uint256 all = 0;
            for (uint256 i = 0; i < orders.length; ++i) {
                uint256 order = OrderCodec.at(orders, i);
                if (!OrderCodec.isValid(order, MIN_ORDER_WH, MAX_ORDER_WH, MAX_LIFE)) return (word, _invalid(order));
                all |= order;
                (uint256 side, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(order);
                (uint256 energy, uint256 money) = Clearing.escrow(side, tick, quantityWh);
                energyNeeded += energy;
                moneyNeeded += money;
            }
            uint256 free = Accounts.energyOf(word);
            if (energyNeeded > free) return (word, _insufficient(account, Asset.Energy, free, energyNeeded));
            free = Accounts.moneyOf(word);
            if (moneyNeeded > free) return (word, _insufficient(account, Asset.Money, free, moneyNeeded));
            if (OrderCodec.life(all) != 0) word = Accounts.withStanding(word);
            return (Accounts.minus(word, energyNeeded, moneyNeeded), refusal);
        }
    }

    /// @dev Why an order is not valid.
    function _invalid(uint256 order) private pure returns (bytes memory) {
        // slither-disable-next-line unused-return -- any side is valid
        (, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(order);
        if (order > OrderCodec.MASK) return _refusal(InvalidOrder.selector, order);
        uint256 life = OrderCodec.life(order);
        if (life > MAX_LIFE) return _refusal(InvalidLife.selector, life);
        if (tick == 0) return _refusal(InvalidTick.selector, tick);
        return _refusal(InvalidQuantity.selector, quantityWh);
    }

    function _insufficient(
        address account,
        Asset asset,
        uint256 freeUnits,
        uint256 neededUnits
    ) private pure returns (bytes memory) {
        return abi.encodeWithSelector(InsufficientFree.selector, account, asset, freeUnits, neededUnits);
    }

    /// @dev Orders that count against the cap. A participant's first order of an epoch never does: colluders cannot
    ///      lock anybody out, and it leaves the zone word alone.
    function _counted(uint256 before, uint256 added) private pure returns (uint256) {
        unchecked {
            return before == 0 ? added - 1 : added;
        }
    }

    /// @dev Orders of `epoch` counted so far.
    function _countedBefore(Zones.Zone memory zone, uint256 epoch) private pure returns (uint256) {
        return zone.epoch == epoch && !zone.cleared ? zone.counted : 0;
    }

    /// @dev Makes `epoch` the zone's newest and counts orders; says whether the caller must store the zone.
    function _count(Zones.Zone memory zone, uint256 epoch, uint256 counted) private pure returns (bool changed) {
        // slither-disable-next-line incorrect-equality -- epoch numbers, which nobody can push off by one
        if (counted == 0 && zone.epoch == epoch && !zone.cleared) return false;
        unchecked {
            uint256 total = _countedBefore(zone, epoch) + counted;
            (zone.epoch, zone.cleared) = (epoch, false);
            zone.counted = total < Zones.MAX_COUNT ? total : Zones.MAX_COUNT;
        }
        return true;
    }

    /// @dev Puts admitted orders in the book and stores them and the account. If a tick cannot hold one, what went in
    ///      is taken out again and the error that says so is returned.
    function _place(
        address account,
        uint256 word,
        Book.State storage zoneBook,
        uint256 epoch,
        uint48[] memory orders
    ) private returns (bytes memory refusal) {
        unchecked {
            uint256 count = Accounts.countOf(word);
            for (uint256 i = 0; i < orders.length; ++i) {
                (uint256 side, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(OrderCodec.at(orders, i));
                uint256 overfull = zoneBook.add(epoch, side, tick, quantityWh);
                if (overfull != 0) {
                    _takeBack(zoneBook, orders, i);
                    return _refusal(TickFull.selector, side, tick, overfull);
                }
            }
            if (count == 0) word = Accounts.withFirst(word, orders[0]);
            if (count + orders.length != 1) _storeFurther(account, count, orders);
            _accounts[account] = Accounts.withMore(word, orders.length);
        }
    }

    /// @dev Stores orders behind the `index` that the account has; its first one lies in the account word.
    function _storeFurther(address account, uint256 index, uint48[] memory orders) private {
        uint256[_FURTHER_WORDS] storage words = _furtherOrders[account];
        unchecked {
            uint256 i = index == 0 ? 1 : 0;
            index += i;
            // The word being filled; one that already holds orders of this epoch is read first.
            // slither-disable-next-line divide-before-multiply -- a remainder
            uint256 slot = (index - 1) / OrderCodec.PER_WORD;
            uint256 lane = index - 1 - slot * OrderCodec.PER_WORD;
            uint256 open = lane == 0 ? 0 : words[slot];
            for (; i < orders.length; ++i) {
                open |= OrderCodec.at(orders, i) << (lane * OrderCodec.BITS);
                if (++lane == OrderCodec.PER_WORD) {
                    words[slot++] = open;
                    (lane, open) = (0, 0);
                }
            }
            if (lane != 0) words[slot] = open;
        }
    }

    /// @dev Takes the first `count` orders out of the book again.
    function _takeBack(Book.State storage zoneBook, uint48[] memory orders, uint256 count) private {
        for (uint256 i = 0; i < count; ++i) {
            (uint256 side, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(OrderCodec.at(orders, i));
            zoneBook.remove(side, tick, quantityWh);
        }
    }

    // An error as it is returned, and reported or reverted with later. Every one of ours has words only.

    function _refusal(bytes4 selector, uint256 a) private pure returns (bytes memory) {
        return abi.encodeWithSelector(selector, a);
    }

    function _refusal(bytes4 selector, uint256 a, uint256 b, uint256 c) private pure returns (bytes memory) {
        return abi.encodeWithSelector(selector, a, b, c);
    }

    function _revertIf(bytes memory refusal) private pure {
        if (refusal.length == 0) return;
        assembly ("memory-safe") {
            revert(add(refusal, 0x20), mload(refusal))
        }
    }

    // ------------------------------------------------------------ enter for others

    /// @inheritdoc ITrading
    function enterBundles(uint8 zoneId, bytes calldata bundles) external returns (uint256 entered) {
        if (bundles.length > MAX_BATCH_BYTES) revert BatchTooLarge(bundles.length, MAX_BATCH_BYTES);
        uint256 epoch = currentEpoch();
        Zones.Zone memory zone = _rolled(zoneId, epoch);
        if (!zone.open) revert UnknownZone(zoneId);
        if (zone.paused) revert ZonePaused(zoneId);
        Batch memory batch = Batch({
            zoneId: zoneId,
            zone: zone,
            zoneChanged: false,
            epoch: epoch,
            newest: Clearing.unpack(zone.result),
            newestEpoch: zone.resultEpoch,
            domain: _domainSeparatorV4(),
            orders: new uint48[](BundleCodec.MAX_COUNT),
            place: (epoch << 96) | (uint256(zoneId) << 88),
            bookSlot: _books[zoneId].slotOf(),
            form: 0,
            end: BundleCodec.startOf(bundles) + bundles.length
        });
        batch.form = Messages.singleForm(batch.domain, zoneId);
        BundleCodec.Bundle memory bundle;
        uint256 free;
        assembly ("memory-safe") {
            free := mload(0x40)
        }
        for (uint256 offset = 0; offset < bundles.length; offset = bundle.end) {
            uint256 next = _enterSingles(batch, BundleCodec.startOf(bundles) + offset) - BundleCodec.startOf(bundles);
            entered += (next - offset) / BundleCodec.SINGLE_BYTES;
            offset = next;
            if (offset == bundles.length) break;
            bundle.load(bundles, offset, batch.orders);
            bytes memory refusal = _enterBundle(batch, bundles, bundle);
            if (refusal.length == 0) {
                unchecked {
                    ++entered;
                }
            } else {
                emit BundleSkipped(bundle.account, uint32(bundle.nonce), refusal);
            }
            // Nothing of this bundle is needed any more: without this, memory would grow with the batch.
            assembly ("memory-safe") {
                mstore(0x40, free)
            }
        }
        // Single orders are not counted, but the epoch is the zone's newest once one is in.
        if (entered != 0 && _count(zone, epoch, 0)) batch.zoneChanged = true;
        if (batch.zoneChanged) _zones[zoneId] = zone.pack();
    }

    /// @dev What all bundles of a batch share.
    struct Batch {
        uint256 zoneId;
        Zones.Zone zone;
        /// Whether the zone is to be stored in the end.
        bool zoneChanged;
        uint256 epoch;
        /// The zone's newest result.
        Clearing.Result newest;
        /// The epoch of that result.
        uint256 newestEpoch;
        bytes32 domain;
        /// Room for a bundle's orders.
        uint48[] orders;
        /// Epoch and zone where the event of a bundle of one order has them.
        uint256 place;
        /// Where the zone's book lies.
        uint256 bookSlot;
        /// Where the message of a bundle of one order is filled in.
        uint256 form;
        /// Where in calldata the bundles end.
        uint256 end;
    }

    /// @dev The short way for what most of a batch is: a bundle of one order for one epoch, its account's first there, with
    ///      nothing that stands and at most one order to settle, which the newest result settles. Enters such bundles up to the first that is
    ///      another, or cannot enter: of that, nothing is done, and `_enterBundle` decides, which is the readable twin
    ///      of this. A test sends the same bundles both ways.
    /// @param start Where in calldata the first stands.
    /// @return Where in calldata the first that was not entered stands.
    function _enterSingles(Batch memory batch, uint256 start) private returns (uint256) {
        unchecked {
            for (; ; start += BundleCodec.SINGLE_BYTES) {
                (uint256 head, uint256 order, uint256 other) = BundleCodec.single(start, batch.end);
                if (other != 0) return start;
                uint256 slot = _accountSlot(head >> 96);
                uint256 word = StorageSlot.getUint256Slot(bytes32(slot)).value;
                uint256 epoch = batch.epoch;
                (uint256 side, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(order);
                {
                    // All that can be compared, in one question: each difference is below 2**64, or its highest bit is
                    // set.
                    uint256 before = Accounts.epochOf(word);
                    uint256 nonce = (head >> 64) & type(uint32).max;
                    uint256 below =
                        (epoch - ((head >> 32) & type(uint32).max)) |
                            ((head & type(uint32).max) - epoch) |
                            (nonce - Accounts.nonceOf(word)) |
                            (type(uint32).max - 1 - nonce) |
                            (epoch - 1 - before) |
                            (quantityWh - MIN_ORDER_WH) |
                            (MAX_ORDER_WH - quantityWh) |
                            (tick - 1);
                    other = OrderCodec.life(order) | Accounts.isNotPlainIn(word, batch.zoneId);
                    if ((below >> 255) | other != 0) return start;
                    uint256 count = Accounts.countOf(word);
                    if (count != 0) {
                        if (count != 1 || before != batch.newestEpoch) return start;
                        word = _withProceeds(word, batch.newest);
                    }
                    (uint256 energy, uint256 money) = Clearing.escrow(side, tick, quantityWh);
                    if (((Accounts.energyOf(word) - energy) | (Accounts.moneyOf(word) - money)) >> 255 != 0)
                        return start;
                    word = Accounts.withOnly(Accounts.minus(word, energy, money), order, epoch, nonce + 1);
                }
                if (!Messages.isSingleSigned(batch.form, head, side, tick, quantityWh, start)) return start;
                if (Book.at(batch.bookSlot).add(epoch, side, tick, quantityWh) != 0) return start;
                StorageSlot.getUint256Slot(bytes32(slot)).value = word;
                uint256 place = batch.place | ((head >> 16) & (uint256(type(uint32).max) << 48));
                emit SignedOrderEntered(address(uint160(head >> 96)), place | order);
            }
        }
    }

    /// @dev The account word with what its one order is worth under result `r`.
    function _withProceeds(uint256 word, Clearing.Result memory r) private pure returns (uint256) {
        (uint256 side, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(Accounts.firstOf(word));
        (uint256 energy, uint256 money) = Clearing.settle(r, side, tick, quantityWh);
        return Accounts.plus(word, energy, money);
    }

    /// @dev Where an account word lies: as `_accounts[account]`, worked out once.
    function _accountSlot(uint256 account) private pure returns (uint256 slot) {
        assembly ("memory-safe") {
            mstore(0, account)
            mstore(0x20, _accounts.slot)
            slot := keccak256(0, 0x40)
        }
    }

    /// @dev Enters a bundle, or returns the error that says why not, having changed nothing but that the account's
    ///      standing orders were rolled, which anyone may do at any time.
    function _enterBundle(
        Batch memory batch,
        bytes calldata bundles,
        BundleCodec.Bundle memory bundle
    ) private returns (bytes memory refusal) {
        address account = bundle.account;
        uint256 word = _accounts[account];
        (word, refusal) = _admitBundle(batch, bundle, word);
        if (refusal.length != 0) return refusal;
        bytes32 digest = Messages.digestBundle(
            batch.domain,
            account,
            batch.zoneId,
            bundle.nonce,
            bundle.firstEpoch,
            bundle.lastEpoch,
            batch.orders
        );
        if (!_isSigned(account, Accounts.walletOf(word), digest, bundle.signatureOf(bundles))) {
            return _refusal(BadSignature.selector, uint160(account));
        }
        // Signed was how long they stand from the first epoch on; stored is how long from this one on.
        bool aged = Accounts.standingOf(word) != Accounts.NONE && batch.epoch != bundle.firstEpoch;
        if (aged) Standing.roll(batch.orders, batch.epoch - bundle.firstEpoch);
        uint256 firstIndex = Accounts.countOf(word);
        uint256 place = (batch.epoch << 48) | (batch.zoneId << 40) | (firstIndex << 32) | bundle.nonce;
        unchecked {
            word = Accounts.withNonce(word, bundle.nonce + 1);
        }
        refusal = _place(account, word, _books[batch.zoneId], batch.epoch, batch.orders);
        if (refusal.length != 0) return refusal;
        uint256 added = batch.orders.length;
        if (_count(batch.zone, batch.epoch, _counted(firstIndex, added))) batch.zoneChanged = true;
        if (added == 1) emit SignedOrderEntered(account, (place << 48) | batch.orders[0]);
        else if (aged) emit BundleEntered(account, place, OrderCodec.toBytes(batch.orders));
        else emit BundleEntered(account, place, bundle.ordersOf(bundles, added));
    }

    /// @dev As `_admit`, with what a direct call need not ask.
    function _admitBundle(
        Batch memory batch,
        BundleCodec.Bundle memory bundle,
        uint256 word
    ) private returns (uint256, bytes memory refusal) {
        address account = bundle.account;
        uint256 status = Accounts.statusOf(word);
        if (status != Accounts.ACTIVE) {
            bytes4 why = status == Accounts.UNKNOWN ? NotRegistered.selector : AccountSuspended.selector;
            return (word, _refusal(why, uint160(account)));
        }
        uint256 zoneId = Accounts.zoneOf(word);
        if (zoneId != batch.zoneId) {
            return (word, _refusal(OtherZone.selector, uint160(account), zoneId, batch.zoneId));
        }
        (uint256 first, uint256 last) = (bundle.firstEpoch, bundle.lastEpoch);
        if (batch.epoch < first || batch.epoch > last) {
            return (word, _refusal(OutsideEpochs.selector, batch.epoch, first, last));
        }
        (uint256 nonce, uint256 lowest) = (bundle.nonce, Accounts.nonceOf(word));
        if (!_isUsable(nonce, lowest)) {
            return (word, _refusal(InvalidNonce.selector, uint160(account), nonce, lowest));
        }
        if (batch.orders.length == 0) return (word, abi.encodeWithSelector(NoOrders.selector));
        if (Accounts.standingOf(word) != Accounts.NONE) return _admitAndRoll(batch, account, word);
        return _admit(account, word, batch.zone, batch.newest, batch.epoch, batch.orders);
    }

    /// @dev As `_admit`, for an account with standing orders.
    function _admitAndRoll(
        Batch memory batch,
        address account,
        uint256 word
    ) private returns (uint256, bytes memory refusal) {
        if (_mustRoll(word, batch.epoch)) {
            batch.zoneChanged = true;
            (word, refusal) = _roll(account, batch.zone, batch.epoch);
            if (refusal.length != 0) return (word, refusal);
        }
        return _admit(account, word, batch.zone, batch.newest, batch.epoch, batch.orders);
    }

    // --------------------------------------------------------- nonces, signatures

    /// @inheritdoc ITrading
    function cancelUpTo(uint32 nonce) external {
        _cancelUpTo(msg.sender, Accounts.unpack(_accounts[msg.sender]), nonce);
    }

    /// @inheritdoc ITrading
    function cancelUpToFor(address account, uint32 nonce, bytes calldata signature) external {
        Accounts.Account memory a = Accounts.unpack(_accounts[account]);
        _requireSigned(account, a, Messages.hashCancelUpTo(account, nonce), signature);
        _cancelUpTo(account, a, nonce);
    }

    function _cancelUpTo(address account, Accounts.Account memory a, uint256 nonce) private {
        _useNonce(account, a, nonce);
        _accounts[account] = a.pack();
    }

    /// @inheritdoc ITrading
    function setContractWallet(bool enabled) external {
        Accounts.Account memory a = Accounts.unpack(_accounts[msg.sender]);
        a.wallet = enabled ? 1 : 0;
        _accounts[msg.sender] = a.pack();
        emit ContractWalletSet(msg.sender, enabled);
    }

    /// @dev Uses a nonce up, in memory, and every lower one with it.
    function _useNonce(address account, Accounts.Account memory a, uint256 nonce) private {
        if (!_isUsable(nonce, a.nonce)) revert InvalidNonce(account, uint32(nonce), uint32(a.nonce));
        unchecked {
            a.nonce = nonce + 1;
        }
        emit NonceUsed(account, uint32(nonce));
    }

    /// @dev The last number is nobody's: there is none above it to be the lowest afterwards.
    function _isUsable(uint256 nonce, uint256 lowest) private pure returns (bool) {
        return nonce >= lowest && nonce < type(uint32).max;
    }

    function _requireSigned(
        address account,
        Accounts.Account memory a,
        bytes32 structHash,
        bytes calldata signature
    ) private view {
        if (!_isSigned(account, a.wallet, _hashTypedDataV4(structHash), signature)) revert BadSignature(account);
    }

    /// @dev Whether the account's key signed, or its contract says so, if the account wants that to be asked. A call
    ///      to a contract has an allowance of gas, cannot change anything, and brings back one word at most.
    function _isSigned(
        address account,
        uint256 wallet,
        bytes32 digest,
        bytes calldata signature
    ) private view returns (bool signed) {
        if (signature.length == 64) {
            bytes32 r;
            bytes32 vs;
            assembly ("memory-safe") {
                r := calldataload(signature.offset)
                vs := calldataload(add(signature.offset, 0x20))
            }
            // slither-disable-next-line unused-return -- the error says no more than the zero address does
            (address signer, , ) = ECDSA.tryRecover(digest, r, vs);
            if (signer == account && signer != address(0)) return true;
        }
        if (wallet == 0) return false;
        bytes memory question = abi.encodeCall(IERC1271.isValidSignature, (digest, signature));
        (uint256 gasAllowance, bytes4 yes) = (WALLET_GAS, IERC1271.isValidSignature.selector);
        assembly ("memory-safe") {
            mstore(0, 0)
            signed := staticcall(gasAllowance, account, add(question, 0x20), mload(question), 0, 0x20)
            signed := and(signed, and(gt(returndatasize(), 0x1f), eq(mload(0), yes)))
        }
    }

    // ------------------------------------------------------------------- cancel

    /// @inheritdoc ITrading
    function cancelOrder(uint256 orderId) external {
        if (address(uint160(orderId)) != msg.sender) revert NotOrderOwner(orderId, msg.sender);
        _cancel(orderId, msg.sender, Accounts.unpack(_accounts[msg.sender]), _ANY_ORDER);
    }

    /// @inheritdoc ITrading
    function cancelOrderFor(uint256 orderId, uint48 order, bytes calldata signature) external {
        address account = address(uint160(orderId));
        Accounts.Account memory a = Accounts.unpack(_accounts[account]);
        (uint256 side, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(order);
        bytes32 structHash = Messages.hashCancelOrder(
            account,
            orderId >> 168,
            (orderId >> 160) & 255,
            side,
            tick,
            quantityWh
        );
        _requireSigned(account, a, structHash, signature);
        _cancel(orderId, account, a, order);
    }

    /// @dev Cancels an order that is open, or what rests of one, if it is the `expected` one.
    function _cancel(uint256 orderId, address account, Accounts.Account memory a, uint256 expected) private {
        uint256 index = (orderId >> 160) & 255;
        uint256 epoch = orderId >> 168;
        bool open = epoch == currentEpoch();
        // What stands on of an ended epoch, if anything, comes to rest first.
        if (!open && a.epoch == epoch && a.standing != Accounts.NONE) (a, ) = _settled(account);
        if ((!open && a.standing != Accounts.RESTING) || a.epoch != epoch || index >= a.count) {
            revert OrderNotOpen(orderId);
        }
        if (open && block.timestamp + cancelCutoffSeconds >= genesis + (epoch + 1) * epochSeconds) {
            revert CancelClosed(orderId, cancelCutoffSeconds);
        }
        uint256 order = _takeOrder(account, a, index);
        (uint256 side, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(order);
        if (quantityWh == 0) revert OrderNotOpen(orderId);
        if (expected != _ANY_ORDER) {
            // Some of it may have traded since it was signed for, once its epoch is over.
            // slither-disable-next-line unused-return -- side and tick are compared as they lie
            (, , uint256 expectedWh) = OrderCodec.unpack(expected);
            bool fits = open ? quantityWh == expectedWh : quantityWh <= expectedWh;
            if (!fits || !OrderCodec.isAlike(order, expected)) {
                revert OtherOrder(orderId, uint48(order), uint48(expected));
            }
        }

        // An open order's epoch is the zone's newest: the book's words are live and nothing waits to be cleared.
        if (open) _books[a.zone].remove(side, tick, quantityWh);
        (uint256 energy, uint256 money) = Clearing.escrow(side, tick, quantityWh);
        a.energy += energy;
        a.money += money;
        _accounts[account] = a.pack();
        emit OrderCancelled(account, epoch, uint8(a.zone), uint8(index), uint48(order));
    }

    /// @dev An account's order by index, marked cancelled where it stands.
    function _takeOrder(address account, Accounts.Account memory a, uint256 index) private returns (uint256 order) {
        if (index == 0) {
            order = a.first;
            a.first = OrderCodec.cancelled(order);
        } else {
            uint256 slot = (index - 1) / OrderCodec.PER_WORD;
            uint256 shift = ((index - 1) % OrderCodec.PER_WORD) * OrderCodec.BITS;
            uint256 word = _furtherOrders[account][slot];
            order = (word >> shift) & OrderCodec.MASK;
            _furtherOrders[account][slot] = word ^ ((order ^ OrderCodec.cancelled(order)) << shift);
        }
    }

    // -------------------------------------------------------------------- clear

    /// @inheritdoc ITrading
    function matchOrders(uint8 zone) external restricted {
        uint256 epoch = currentEpoch();
        if (!Zones.unpack(_zones[zone]).isDue(epoch)) revert NothingToClear(zone, epoch);
        _rolled(zone, epoch);
    }

    /// @dev The zone with its ended epoch cleared; result and zone word are stored if there was one.
    function _rolled(uint256 zoneId, uint256 epoch) private returns (Zones.Zone memory zone) {
        zone = Zones.unpack(_zones[zoneId]);
        if (!zone.isDue(epoch)) return zone;
        uint256 word = Auction.clear(_books[zoneId], zone.epoch);
        if (word != 0) _results[_key(zoneId, zone.epoch)] = word;
        (zone.result, zone.resultEpoch, zone.cleared) = (word, zone.epoch, true);
        _zones[zoneId] = zone.pack();
        emit EpochCleared(uint8(zoneId), zone.epoch, _toView(word));
    }

    // ------------------------------------------------------------------- settle

    /// @inheritdoc ITrading
    function settle(address[] calldata accounts) external {
        for (uint256 i = 0; i < accounts.length; ++i) {
            (Accounts.Account memory a, bool changed) = _settled(accounts[i]);
            if (changed) _accounts[accounts[i]] = a.pack();
        }
    }

    /// @dev The account with its ended orders settled; the caller stores it.
    function _settled(address account) private returns (Accounts.Account memory a, bool changed) {
        a = Accounts.unpack(_accounts[account]);
        uint256 epoch = currentEpoch();
        if (a.count == 0 || a.epoch >= epoch) return (a, false);
        if (a.standing != Accounts.NONE) {
            Standing.Rest memory rest = _rest(account, a.pack(), epoch);
            return (Accounts.unpack(rest.account), true);
        }
        Zones.Zone memory zone = _rolled(a.zone, epoch);
        uint256 result = a.epoch == zone.resultEpoch ? zone.result : _results[_key(a.zone, a.epoch)];
        (uint256 energy, uint256 money) = _proceeds(account, a.first, a.count, Clearing.unpack(result));
        unchecked {
            // Neither exceeds the market-wide totals, which are capped.
            a.energy += energy;
            a.money += money;
        }
        // This marks the orders settled.
        a.count = 0;
        return (a, true);
    }

    /// @dev What `count` orders of an account, `word` being the first, are worth to it under result `r`.
    function _proceeds(
        address account,
        uint256 word,
        uint256 count,
        Clearing.Result memory r
    ) private view returns (uint256 energy, uint256 money) {
        unchecked {
            // At most 100 orders of 2**55 units each: no sum overflows.
            uint256 lane = OrderCodec.PER_WORD - 1;
            uint256 slot = 0;
            for (uint256 i = 0; i < count; ++i) {
                if (i != 0) {
                    word >>= OrderCodec.BITS;
                    if (++lane == OrderCodec.PER_WORD) (word, lane) = (_furtherOrders[account][slot++], 0);
                }
                (uint256 side, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(word);
                if (quantityWh == 0) continue;
                (uint256 e, uint256 m) = Clearing.settle(r, side, tick, quantityWh);
                energy += e;
                money += m;
            }
        }
    }

    // --------------------------------------------------------------------- roll

    /// @inheritdoc ITrading
    function roll(address[] calldata accounts) external returns (uint256 rolled) {
        uint256 epoch = currentEpoch();
        uint256 free;
        assembly ("memory-safe") {
            free := mload(0x40)
        }
        for (uint256 i = 0; i < accounts.length; ++i) {
            address account = accounts[i];
            uint256 word = _accounts[account];
            if (!_mustRoll(word, epoch)) continue;
            uint256 zoneId = Accounts.zoneOf(word);
            Zones.Zone memory zone = _rolled(zoneId, epoch);
            bytes memory refusal;
            (word, refusal) = _roll(account, zone, epoch);
            _zones[zoneId] = zone.pack();
            if (refusal.length != 0) emit RollSkipped(account, refusal);
            else if (Accounts.countOf(word) != 0) ++rolled;
            // As in enterBundles.
            assembly ("memory-safe") {
                mstore(0x40, free)
            }
        }
    }

    /// @dev Whether standing orders of an ended epoch wait to be rolled, or to be settled for good.
    function _mustRoll(uint256 word, uint256 epoch) private pure returns (bool) {
        return Accounts.standingOf(word) != Accounts.NONE && Accounts.epochOf(word) != epoch;
    }

    /// @dev Settles an account that must roll, stores it, and enters what is left of its standing orders into `epoch`;
    ///      or returns the error that says why they do not enter: then they rest.
    /// @param zone The account's, with its ended epoch cleared; the caller stores it.
    /// @return word The account word, stored.
    function _roll(
        address account,
        Zones.Zone memory zone,
        uint256 epoch
    ) private returns (uint256 word, bytes memory refusal) {
        Standing.Rest memory rest = _rest(account, _accounts[account], epoch);
        word = rest.account;
        _accounts[account] = word;
        if (Accounts.countOf(word) == 0) return (word, refusal);
        uint256 zoneId = Accounts.zoneOf(word);
        if (Accounts.statusOf(word) != Accounts.ACTIVE) {
            return (word, _refusal(AccountSuspended.selector, uint160(account)));
        }
        if (zone.paused) return (word, _refusal(ZonePaused.selector, zoneId));
        uint48[] memory orders = rest.orders;
        Standing.roll(orders, epoch - Accounts.epochOf(word));
        // As if their escrow were free again: entering locks it once more. With no orders no result is needed.
        uint256 fresh = Accounts.withEpoch(Accounts.plus(word, rest.energyEscrow, rest.moneyEscrow), epoch);
        (fresh, refusal) = _admit(account, fresh, zone, Clearing.unpack(0), epoch, orders);
        if (refusal.length == 0) refusal = _place(account, fresh, _books[zoneId], epoch, orders);
        if (refusal.length != 0) return (word, refusal);
        // slither-disable-next-line unused-return -- the caller stores the zone in any case
        _count(zone, epoch, _counted(0, orders.length));
        emit OrdersRolled(account, epoch, uint8(zoneId), OrderCodec.toBytes(orders));
        return (_accounts[account], refusal);
    }

    /// @dev Settles an account that must roll: what is left of its standing orders rests in their places. The caller
    ///      stores the account word.
    function _rest(address account, uint256 word, uint256 epoch) private returns (Standing.Rest memory rest) {
        (uint256 zoneId, uint256 ended) = (Accounts.zoneOf(word), Accounts.epochOf(word));
        _rolled(zoneId, epoch);
        rest = _settle(account, word, _results[_key(zoneId, ended)], epoch);
        if (rest.tooSmall != 0) emit StandingOrdersEnded(account, ended, uint8(zoneId), uint128(rest.tooSmall));
        if (Accounts.countOf(rest.account) > 1) _storeFurther(account, 0, rest.orders);
    }

    function _settle(
        address account,
        uint256 word,
        uint256 result,
        uint256 epoch
    ) private view returns (Standing.Rest memory) {
        return Auction.settle(_furtherOrders[account], word, result, epoch, MIN_ORDER_WH);
    }

    // ----------------------------------------------------------------- withdraw

    /// @inheritdoc ITrading
    function withdraw(Asset asset, uint256 amountWei, address to) external nonReentrant {
        (Accounts.Account memory a, ) = _settled(msg.sender);
        _withdraw(msg.sender, a, asset, amountWei, to);
    }

    /// @inheritdoc ITrading
    function withdrawFor(
        address account,
        Asset asset,
        uint256 amountWei,
        address to,
        uint32 nonce,
        uint64 deadline,
        bytes calldata signature
    ) external nonReentrant {
        if (block.timestamp > deadline) revert DeadlinePassed(deadline);
        (Accounts.Account memory a, ) = _settled(account);
        bytes32 structHash = Messages.hashWithdraw(account, asset == Asset.Energy, amountWei, to, nonce, deadline);
        _requireSigned(account, a, structHash, signature);
        _useNonce(account, a, nonce);
        _withdraw(account, a, asset, amountWei, to);
    }

    /// @dev `a` is the account, settled; it is stored here.
    function _withdraw(address account, Accounts.Account memory a, Asset asset, uint256 amountWei, address to) private {
        if (to == address(0)) revert ZeroAddress();
        uint256 units = _toUnits(asset, amountWei);
        uint256 free = asset == Asset.Energy ? a.energy : a.money;
        if (units > free) revert InsufficientFree(account, asset, free, units);
        if (asset == Asset.Energy) {
            a.energy -= units;
            _energyTotal -= uint128(units);
        } else {
            a.money -= units;
            _moneyTotal -= uint128(units);
        }
        _accounts[account] = a.pack();
        emit Withdrawn(account, asset, to, amountWei);
        IERC20(_token(asset)).safeTransfer(to, amountWei);
    }

    // -------------------------------------------------- Registry, Metering, regulator

    /// @inheritdoc ITrading
    function setAccount(address account, uint8 status, uint8 zone) external restricted {
        if (status != Accounts.ACTIVE && status != Accounts.SUSPENDED) revert InvalidStatus(status);
        if (!Zones.unpack(_zones[zone]).open) revert UnknownZone(zone);
        (Accounts.Account memory a, ) = _settled(account);
        if (a.zone != zone && a.count != 0) revert UnsettledOrders(account, a.epoch);
        a.status = status;
        a.zone = zone;
        _accounts[account] = a.pack();
        emit AccountSet(account, status, zone);
    }

    /// @inheritdoc ITrading
    function credit(address[] calldata accounts, uint256[] calldata energyWh) external restricted {
        if (accounts.length != energyWh.length) revert LengthMismatch(accounts.length, energyWh.length);
        uint256 total = _energyTotal;
        for (uint256 i = 0; i < accounts.length; ++i) {
            uint256 units = energyWh[i] * Clearing.ENERGY_UNITS_PER_WH;
            total += units;
            // Checked each time: an account's field must not overflow before the sum is known.
            if (total > Accounts.MAX_ENERGY) revert MarketCapReached(Asset.Energy, total, Accounts.MAX_ENERGY);
            address account = accounts[i];
            _accounts[account] = Accounts.addEnergy(_accounts[account], units);
        }
        _energyTotal = uint128(total);
    }

    /// @inheritdoc ITrading
    function retire(
        address[] calldata accounts,
        uint256[] calldata maximumWh
    ) external restricted returns (uint256[] memory retiredWh) {
        if (accounts.length != maximumWh.length) revert LengthMismatch(accounts.length, maximumWh.length);
        retiredWh = new uint256[](accounts.length);
        uint256 total = 0;
        for (uint256 i = 0; i < accounts.length; ++i) {
            (Accounts.Account memory a, bool changed) = _settled(accounts[i]);
            // [R4] whole Wh only, rounded down: what is left stays free.
            // slither-disable-next-line divide-before-multiply -- on purpose: whole Wh only
            uint256 wh = a.energy / Clearing.ENERGY_UNITS_PER_WH;
            if (wh > maximumWh[i]) wh = maximumWh[i];
            if (wh != 0 || changed) {
                a.energy -= wh * Clearing.ENERGY_UNITS_PER_WH;
                _accounts[accounts[i]] = a.pack();
            }
            retiredWh[i] = wh;
            total += wh;
        }
        if (total == 0) return retiredWh;
        _energyTotal -= uint128(total * Clearing.ENERGY_UNITS_PER_WH);
        IGridToken(gridToken).burn(total * _WH_WEI);
    }

    /// @inheritdoc ITrading
    function openZone(uint8 zone, uint32 orderCap) external restricted {
        Zones.Zone memory z = Zones.unpack(_zones[zone]);
        if (z.open) revert ZoneAlreadyOpen(zone);
        (z.open, z.cleared) = (true, true);
        _setZone(zone, z, orderCap);
    }

    /// @inheritdoc ITrading
    function setOrderCap(uint8 zone, uint32 orderCap) external restricted {
        _setZone(zone, _openZone(zone), orderCap);
    }

    /// @inheritdoc ITrading
    function setPaused(uint8 zone, bool paused) external restricted {
        Zones.Zone memory z = _openZone(zone);
        z.paused = paused;
        _setZone(zone, z, z.orderCap);
    }

    function _openZone(uint8 zone) private view returns (Zones.Zone memory z) {
        z = Zones.unpack(_zones[zone]);
        if (!z.open) revert UnknownZone(zone);
    }

    function _setZone(uint8 zone, Zones.Zone memory z, uint256 orderCap) private {
        if (orderCap > Zones.MAX_COUNT) revert InvalidOrderCap(orderCap, Zones.MAX_COUNT);
        z.orderCap = orderCap;
        _zones[zone] = z.pack();
        emit ZoneSet(zone, z.paused, uint32(orderCap));
    }

    // -------------------------------------------------------------------- views

    /// @notice What signed messages are signed for: name, version, chain and contract (ERC-5267).
    /// @dev OpenZeppelin's says the same, by way of the storage that names of 32 bytes and more would take.
    function eip712Domain()
        public
        view
        override
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        )
    {
        return (hex"0f", _NAME, _VERSION, block.chainid, address(this), bytes32(0), new uint256[](0));
    }

    /// @inheritdoc ITrading
    function currentEpoch() public view returns (uint256 epoch) {
        (uint256 from, uint256 length) = (genesis, epochSeconds);
        // Neither can go wrong, see the constructor. By way of memory, so that the compiler finds it too long to be put
        // wherever it is used.
        assembly ("memory-safe") {
            mstore(0, timestamp())
            mstore(0x20, sub(mload(0), from))
            epoch := div(mload(0x20), length)
        }
    }

    /// @inheritdoc ITrading
    function totals() external view returns (uint256 energyUnits, uint256 moneyUnits) {
        return (_energyTotal, _moneyTotal);
    }

    /// @inheritdoc ITrading
    function accountsOf(address[] calldata accounts) external view returns (AccountView[] memory views) {
        views = new AccountView[](accounts.length);
        uint256 epoch = currentEpoch();
        for (uint256 i = 0; i < accounts.length; ++i) {
            views[i] = _accountView(accounts[i], epoch);
        }
    }

    function _accountView(address account, uint256 epoch) private view returns (AccountView memory v) {
        Accounts.Account memory a = Accounts.unpack(_accounts[account]);
        if (a.count != 0) {
            Standing.Rest memory rest = _restNow(account, epoch);
            (v.energyEscrow, v.moneyEscrow) = (rest.energyEscrow, rest.moneyEscrow);
            if (a.epoch < epoch) a = Accounts.unpack(rest.account);
        }
        v.status = uint8(a.status);
        v.zone = uint8(a.zone);
        v.epoch = uint32(a.epoch);
        v.orderCount = uint8(a.count);
        v.standing = uint8(a.standing);
        v.nonce = uint32(a.nonce);
        v.energyFree = a.energy;
        v.moneyFree = a.money;
    }

    /// @inheritdoc ITrading
    function ordersOf(address account) external view returns (OrderView[] memory orders) {
        uint256 word = _accounts[account];
        (uint256 epoch, uint256 now_) = (Accounts.epochOf(word), currentEpoch());
        bool rests = _mustRoll(word, now_);
        // In their own epoch orders are as they are stored.
        Standing.Rest memory rest = _restNow(account, rests ? now_ : epoch);
        if (rests && Accounts.countOf(rest.account) == 0) return orders;
        uint48[] memory stored = rest.orders;
        orders = new OrderView[](stored.length);
        for (uint256 i = 0; i < stored.length; ++i) {
            (uint256 side, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(stored[i]);
            orders[i] = OrderView(
                orderIdOf(account, epoch, i),
                side == OrderCodec.BID,
                uint16(tick),
                uint32(quantityWh),
                uint32(epoch + OrderCodec.life(stored[i]))
            );
        }
    }

    /// @dev What settling an account now would give.
    function _restNow(address account, uint256 epoch) private view returns (Standing.Rest memory) {
        uint256 word = _accounts[account];
        uint256 ended = Accounts.epochOf(word);
        return _settle(account, word, ended == epoch ? 0 : _resultOf(Accounts.zoneOf(word), ended), epoch);
    }

    /// @inheritdoc ITrading
    function orderIdOf(address account, uint256 epoch, uint256 index) public pure returns (uint256) {
        return (epoch << 168) | (index << 160) | uint256(uint160(account));
    }

    /// @inheritdoc ITrading
    function book(uint8 zone) external view returns (uint64[] memory bidsWh, uint64[] memory asksWh) {
        uint256 epoch = currentEpoch();
        bidsWh = new uint64[](Book.MAX_TICK);
        asksWh = new uint64[](Book.MAX_TICK);
        for (uint256 i = 0; i < Book.MAX_TICK; ++i) {
            bidsWh[i] = uint64(_books[zone].volumeAt(epoch, OrderCodec.BID, i + 1));
            asksWh[i] = uint64(_books[zone].volumeAt(epoch, OrderCodec.ASK, i + 1));
        }
    }

    /// @inheritdoc ITrading
    function indicativeResult(uint8 zone) external view returns (EpochResult memory) {
        return _toView(Auction.clear(_books[zone], currentEpoch()));
    }

    /// @inheritdoc ITrading
    function resultOf(uint8 zone, uint256 epoch) external view returns (EpochResult memory) {
        return _toView(_resultOf(zone, epoch));
    }

    /// @inheritdoc ITrading
    function zoneOf(uint8 zone) external view returns (ZoneView memory) {
        Zones.Zone memory z = Zones.unpack(_zones[zone]);
        return ZoneView(z.open, z.paused, uint32(z.epoch), z.cleared, uint32(z.counted), uint32(z.orderCap));
    }

    /// @inheritdoc ITrading
    function clearingDue(uint8 zone) external view returns (bool due, uint256 epoch) {
        Zones.Zone memory z = Zones.unpack(_zones[zone]);
        return (z.isDue(currentEpoch()), z.epoch);
    }

    /// @dev Result of an ended epoch; one that waits to be cleared is worked out from the book.
    function _resultOf(uint256 zoneId, uint256 epoch) private view returns (uint256 result) {
        Zones.Zone memory zone = Zones.unpack(_zones[zoneId]);
        if (zone.epoch == epoch && zone.isDue(currentEpoch())) return Auction.clear(_books[zoneId], epoch);
        return _results[_key(zoneId, epoch)];
    }

    // ------------------------------------------------------------------ helpers

    function _key(uint256 zone, uint256 epoch) private pure returns (uint256) {
        return (zone << 32) | epoch;
    }

    function _token(Asset asset) private view returns (address) {
        return asset == Asset.Energy ? gridToken : quoteToken;
    }

    function _toUnits(Asset asset, uint256 amountWei) private view returns (uint256 units) {
        uint256 unitWei = asset == Asset.Energy ? _ENERGY_UNIT_WEI : moneyUnitWei;
        // slither-disable-next-line divide-before-multiply -- multiplied back to see whether the division was exact
        units = amountWei / unitWei;
        if (amountWei == 0 || units * unitWei != amountWei) revert InexactAmount(asset, amountWei, unitWei);
    }

    function _addTotal(Asset asset, uint256 units) private {
        uint256 maximum = asset == Asset.Energy ? Accounts.MAX_ENERGY : Accounts.MAX_MONEY;
        uint256 total = asset == Asset.Energy ? _energyTotal : _moneyTotal;
        if (units > maximum - total) revert MarketCapReached(asset, total + units, maximum);
        if (asset == Asset.Energy) _energyTotal = uint128(total + units);
        else _moneyTotal = uint128(total + units);
    }

    function _requireActive(address account, uint256 status) private pure {
        if (status == Accounts.UNKNOWN) revert NotRegistered(account);
        if (status != Accounts.ACTIVE) revert AccountSuspended(account);
    }

    function _requireValid(uint256 tick, uint256 quantityWh) private pure {
        if (tick == 0 || tick > Book.MAX_TICK) revert InvalidTick(tick);
        if (quantityWh < MIN_ORDER_WH || quantityWh > MAX_ORDER_WH) revert InvalidQuantity(quantityWh);
    }

    function _toView(uint256 result) private pure returns (EpochResult memory v) {
        Clearing.Result memory r = Clearing.unpack(result);
        v.price2 = uint16(r.lower + r.upper);
        v.lowerTick = uint16(r.lower);
        v.upperTick = uint16(r.upper);
        v.longSide = uint8(r.longSide);
        v.filledWh = uint64(r.filledWh);
        v.offeredWh = uint64(r.offeredWh);
        v.volumeWh = uint64(r.volumeWh);
    }
}
