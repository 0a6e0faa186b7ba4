// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {IGridToken} from "./interfaces/IGridToken.sol";
import {ITrading} from "./interfaces/ITrading.sol";
import {Accounts} from "./libraries/Accounts.sol";
import {Book} from "./libraries/Book.sol";
import {Clearing} from "./libraries/Clearing.sol";
import {OrderCodec} from "./libraries/OrderCodec.sol";
import {Zones} from "./libraries/Zones.sol";

/// @title Trading
/// @notice See ITrading, which is the manual. Algorithm and arithmetic are in Book and Clearing; this
///         contract handles accounts, money, access and events.
contract Trading is ITrading, AccessManaged, ReentrancyGuardTransient {
    using Accounts for Accounts.Account;
    using Book for Book.State;
    using Zones for Zones.Zone;
    using SafeERC20 for IERC20;

    // ---------------------------------------------------------------- constants

    /// @notice Smallest order: 0.1 kWh.
    uint256 public constant MIN_ORDER_WH = 100;
    /// @notice Largest order: 10,000 kWh.
    uint256 public constant MAX_ORDER_WH = 10_000_000;
    /// @notice Orders per participant and epoch, cancelled ones included.
    uint256 public constant MAX_ORDERS = 100;

    /// @dev GRID wei in a micro-Wh: 1e18 wei = 1 kWh = 1e9 micro-Wh.
    uint256 private constant _ENERGY_UNIT_WEI = 1e9;
    /// @dev GRID wei in a Wh.
    uint256 private constant _WH_WEI = 1e15;
    /// @dev 99 further orders, six a word.
    // slither-disable-next-line unused-state -- the length of an array below, which slither does not count
    uint256 private constant _FURTHER_WORDS = 17;
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
    ) AccessManaged(authority) {
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
        _deposit(asset, amountWei);
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
        _deposit(asset, amountWei);
    }

    function _deposit(Asset asset, uint256 amountWei) private {
        Accounts.Account memory a = Accounts.unpack(_accounts[msg.sender]);
        _requireActive(msg.sender, a);
        uint256 units = _toUnits(asset, amountWei);
        _addTotal(asset, units);
        if (asset == Asset.Energy) a.energy += units;
        else a.money += units;
        _accounts[msg.sender] = a.pack();
        emit Deposited(msg.sender, asset, amountWei);

        IERC20 token = IERC20(_token(asset));
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amountWei);
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
        uint256 added = orders.length;
        if (added == 0) revert NoOrders();
        Accounts.Account memory a = Accounts.unpack(_accounts[account]);
        _requireActive(account, a);
        uint256 epoch = currentEpoch();
        Zones.Zone memory zone = _rolled(a.zone, epoch);
        if (zone.paused) revert ZonePaused(uint8(a.zone));
        _settle(account, a, zone, epoch);
        if (a.epoch != epoch) (a.epoch, a.count) = (epoch, 0);
        uint256 firstIndex = a.count;
        if (firstIndex + added > MAX_ORDERS) revert TooManyOrders(account, firstIndex + added);

        _count(a.zone, zone, epoch, firstIndex == 0 ? added - 1 : added);
        _fill(account, a, orders);
        _accounts[account] = a.pack();
        emit OrdersEntered(account, epoch, uint8(a.zone), uint8(firstIndex), orders);
        return orderIdOf(account, epoch, firstIndex);
    }

    /// @dev Makes `epoch` the zone's newest and counts orders against the cap. A participant's first order
    ///      is never counted: colluders cannot lock anybody out, and it leaves the zone word alone.
    function _count(uint256 zoneId, Zones.Zone memory zone, uint256 epoch, uint256 counted) private {
        unchecked {
            // slither-disable-next-line incorrect-equality -- epoch numbers, which nobody can push off by one
            if (zone.epoch == epoch && !zone.cleared) {
                if (counted == 0) return;
            } else {
                (zone.epoch, zone.cleared, zone.counted) = (epoch, false, 0);
            }
            uint256 total = zone.counted + counted;
            if (counted != 0 && zone.orderCap != 0 && total > zone.orderCap) {
                revert EpochFull(uint8(zoneId), epoch, zone.orderCap);
            }
            zone.counted = total < Zones.MAX_COUNT ? total : Zones.MAX_COUNT;
            _zones[zoneId] = zone.pack();
        }
    }

    /// @dev Escrows, puts in the book and stores each order; `a` is stored by the caller.
    function _fill(address account, Accounts.Account memory a, uint48[] memory orders) private {
        Book.State storage zoneBook = _books[a.zone];
        uint256 epoch = a.epoch;
        uint256 index = a.count;
        uint256 energyNeeded = 0;
        uint256 moneyNeeded = 0;
        // The word being filled; one that already holds orders of this epoch is read first.
        uint256 open =
            index > 1 && (index - 1) % OrderCodec.PER_WORD != 0
                ? _furtherOrders[account][(index - 1) / OrderCodec.PER_WORD]
                : 0;
        unchecked {
            // At most 100 orders of 2**55 units each: no sum overflows.
            for (uint256 i = 0; i < orders.length; ++i) {
                uint256 order = orders[i];
                if (OrderCodec.life(order) != 0) revert InvalidOrder(order);
                (uint256 side, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(order);
                _requireValid(tick, quantityWh);
                (uint256 energy, uint256 money) = Clearing.escrow(side, tick, quantityWh);
                energyNeeded += energy;
                moneyNeeded += money;
                zoneBook.add(epoch, side, tick, quantityWh);
                if (index == 0) {
                    a.first = order;
                } else {
                    uint256 lane = (index - 1) % OrderCodec.PER_WORD;
                    open = lane == 0 ? order : open | (order << (lane * OrderCodec.BITS));
                    if (lane == OrderCodec.PER_WORD - 1 || i + 1 == orders.length) {
                        _furtherOrders[account][(index - 1) / OrderCodec.PER_WORD] = open;
                    }
                }
                ++index;
            }
            a.count = index;
            if (energyNeeded > a.energy) revert InsufficientFree(account, Asset.Energy, a.energy, energyNeeded);
            if (moneyNeeded > a.money) revert InsufficientFree(account, Asset.Money, a.money, moneyNeeded);
            a.energy -= energyNeeded;
            a.money -= moneyNeeded;
        }
    }

    // ------------------------------------------------------------------- cancel

    /// @inheritdoc ITrading
    function cancelOrder(uint256 orderId) external {
        uint256 index = (orderId >> 160) & 255;
        uint256 epoch = orderId >> 168;
        if (address(uint160(orderId)) != msg.sender) revert NotOrderOwner(orderId, msg.sender);
        Accounts.Account memory a = Accounts.unpack(_accounts[msg.sender]);
        // An open order's epoch is the zone's newest: the book's words are live and nothing waits to be cleared.
        if (epoch != currentEpoch() || a.epoch != epoch || index >= a.count) revert OrderNotOpen(orderId);
        if (block.timestamp + cancelCutoffSeconds >= genesis + (epoch + 1) * epochSeconds) {
            revert CancelClosed(orderId, cancelCutoffSeconds);
        }
        uint256 order = _takeOrder(a, index);
        (uint256 side, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(order);
        if (quantityWh == 0) revert OrderNotOpen(orderId);

        _books[a.zone].remove(side, tick, quantityWh);
        (uint256 energy, uint256 money) = Clearing.escrow(side, tick, quantityWh);
        a.energy += energy;
        a.money += money;
        _accounts[msg.sender] = a.pack();
        emit OrderCancelled(msg.sender, epoch, uint8(a.zone), uint8(index), uint48(order));
    }

    /// @dev The sender's order by index, marked cancelled where it stands.
    function _takeOrder(Accounts.Account memory a, uint256 index) private returns (uint256 order) {
        if (index == 0) {
            order = a.first;
            a.first = OrderCodec.cancelled(order);
        } else {
            uint256 slot = (index - 1) / OrderCodec.PER_WORD;
            uint256 shift = ((index - 1) % OrderCodec.PER_WORD) * OrderCodec.BITS;
            uint256 word = _furtherOrders[msg.sender][slot];
            order = (word >> shift) & OrderCodec.MASK;
            _furtherOrders[msg.sender][slot] = word ^ ((order ^ OrderCodec.cancelled(order)) << shift);
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
        Clearing.Result memory result = _books[zoneId].clear(zone.epoch);
        uint256 word = Clearing.pack(result);
        if (word != 0) _results[_key(zoneId, zone.epoch)] = word;
        (zone.result, zone.resultEpoch, zone.cleared) = (word, zone.epoch, true);
        _zones[zoneId] = zone.pack();
        emit EpochCleared(uint8(zoneId), zone.epoch, _toView(result));
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
        _settle(account, a, _rolled(a.zone, epoch), epoch);
        return (a, true);
    }

    /// @dev Turns the orders of an ended and cleared epoch into free balances. `count` = 0 marks it done.
    function _settle(address account, Accounts.Account memory a, Zones.Zone memory zone, uint256 epoch) private view {
        if (a.count == 0 || a.epoch >= epoch) return;
        uint256 result = a.epoch == zone.resultEpoch ? zone.result : _results[_key(a.zone, a.epoch)];
        (uint256 energy, uint256 money) = _proceeds(account, a, Clearing.unpack(result));
        unchecked {
            // Neither exceeds the market-wide totals, which are capped.
            a.energy += energy;
            a.money += money;
        }
        a.count = 0;
    }

    /// @dev What all orders of the account's newest epoch are worth to it under result `r`.
    function _proceeds(
        address account,
        Accounts.Account memory a,
        Clearing.Result memory r
    ) private view returns (uint256 energy, uint256 money) {
        uint256 count = a.count;
        uint256 word = a.first;
        unchecked {
            // At most 100 orders of 2**55 units each: no sum overflows.
            for (uint256 i = 0; i < count; ++i) {
                if (i != 0) {
                    uint256 lane = (i - 1) % OrderCodec.PER_WORD;
                    word = lane == 0 ? _furtherOrders[account][(i - 1) / OrderCodec.PER_WORD] : word >> OrderCodec.BITS;
                }
                (uint256 side, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(word);
                if (quantityWh == 0) continue;
                (uint256 e, uint256 m) = Clearing.settle(r, side, tick, quantityWh);
                energy += e;
                money += m;
            }
        }
    }

    function _orderAt(address account, Accounts.Account memory a, uint256 index) private view returns (uint256) {
        if (index == 0) return a.first;
        uint256 word = _furtherOrders[account][(index - 1) / OrderCodec.PER_WORD];
        return (word >> (((index - 1) % OrderCodec.PER_WORD) * OrderCodec.BITS)) & OrderCodec.MASK;
    }

    // ----------------------------------------------------------------- withdraw

    /// @inheritdoc ITrading
    function withdraw(Asset asset, uint256 amountWei, address to) external nonReentrant {
        if (to == address(0)) revert ZeroAddress();
        uint256 units = _toUnits(asset, amountWei);
        (Accounts.Account memory a, ) = _settled(msg.sender);
        uint256 free = asset == Asset.Energy ? a.energy : a.money;
        if (units > free) revert InsufficientFree(msg.sender, asset, free, units);
        if (asset == Asset.Energy) {
            a.energy -= units;
            _energyTotal -= uint128(units);
        } else {
            a.money -= units;
            _moneyTotal -= uint128(units);
        }
        _accounts[msg.sender] = a.pack();
        emit Withdrawn(msg.sender, asset, to, amountWei);
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
            _accounts[accounts[i]] = Accounts.addEnergy(_accounts[accounts[i]], units);
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

    /// @inheritdoc ITrading
    function currentEpoch() public view returns (uint256) {
        return (block.timestamp - genesis) / epochSeconds;
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
            if (a.epoch < epoch) {
                (uint256 energy, uint256 money) = _proceeds(account, a, _resultOf(a.zone, a.epoch));
                (a.energy, a.money, a.count) = (a.energy + energy, a.money + money, 0);
            } else {
                // Without a trade the proceeds are the escrow itself.
                // slither-disable-next-line uninitialized-local -- memory starts at zero, which is the result without trade
                Clearing.Result memory none;
                (v.energyEscrow, v.moneyEscrow) = _proceeds(account, a, none);
            }
        }
        v.status = uint8(a.status);
        v.zone = uint8(a.zone);
        v.epoch = uint32(a.epoch);
        v.orderCount = uint8(a.count);
        v.nonce = uint32(a.nonce);
        v.energyFree = a.energy;
        v.moneyFree = a.money;
    }

    /// @inheritdoc ITrading
    function ordersOf(address account) external view returns (OrderView[] memory orders) {
        Accounts.Account memory a = Accounts.unpack(_accounts[account]);
        orders = new OrderView[](a.count);
        for (uint256 i = 0; i < a.count; ++i) {
            (uint256 side, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(_orderAt(account, a, i));
            orders[i] = OrderView(
                orderIdOf(account, a.epoch, i),
                side == OrderCodec.BID,
                uint16(tick),
                uint32(quantityWh)
            );
        }
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
        return _toView(_books[zone].clear(currentEpoch()));
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
    function _resultOf(uint256 zoneId, uint256 epoch) private view returns (Clearing.Result memory r) {
        Zones.Zone memory zone = Zones.unpack(_zones[zoneId]);
        if (zone.epoch == epoch && zone.isDue(currentEpoch())) return _books[zoneId].clear(epoch);
        return Clearing.unpack(_results[_key(zoneId, epoch)]);
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

    function _requireActive(address account, Accounts.Account memory a) private pure {
        if (a.status == Accounts.UNKNOWN) revert NotRegistered(account);
        if (a.status != Accounts.ACTIVE) revert AccountSuspended(account);
    }

    function _requireValid(uint256 tick, uint256 quantityWh) private pure {
        if (tick == 0 || tick > Book.MAX_TICK) revert InvalidTick(tick);
        if (quantityWh < MIN_ORDER_WH || quantityWh > MAX_ORDER_WH) revert InvalidQuantity(quantityWh);
    }

    function _toView(Clearing.Result memory r) private pure returns (EpochResult memory v) {
        v.price2 = uint16(r.lower + r.upper);
        v.lowerTick = uint16(r.lower);
        v.upperTick = uint16(r.upper);
        v.longSide = uint8(r.longSide);
        v.filledWh = uint64(r.filledWh);
        v.offeredWh = uint64(r.offeredWh);
        v.volumeWh = uint64(r.volumeWh);
    }
}
