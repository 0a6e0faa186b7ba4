// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {Accounts} from "./Accounts.sol";
import {Clearing} from "./Clearing.sol";
import {OrderCodec} from "./OrderCodec.sol";

/// @title Standing orders
/// @notice What becomes of an account's orders when their epoch is over and some of them stand longer. Lists of orders are
///         as in OrderCodec and are changed where they lie.
/// @dev Bracketed numbers point to the notes of docs/protocol.md.
library Standing {
    using Accounts for Accounts.Account;

    /// @notice An account with its orders settled.
    struct Rest {
        /// The account word. Without anything left its count is 0, otherwise it says that its orders rest.
        uint256 account;
        /// What is locked in that which rests: micro-Wh and money units.
        uint256 energyEscrow;
        uint256 moneyEscrow;
        /// Orders that ended because less than the smallest order was left of them: 1 << its index for each.
        uint256 tooSmall;
        /// All orders in their places, the quantity of each being what rests of it, or 0.
        uint48[] orders;
    }

    /// @notice Settles an account's orders at an epoch, and leaves of each what stands on.
    /// @dev In its own epoch all of an order rests, whatever its life, so this also tells what is locked in open orders.
    /// @param further Its orders but the first, six to a word.
    /// @param account The account word.
    /// @param result Result word of the orders' epoch; it does not count if they rest already.
    /// @param epoch The epoch now.
    /// @param minimumWh Smallest order.
    function settle(
        uint256[17] storage further,
        uint256 account,
        uint256 result,
        uint256 epoch,
        uint256 minimumWh
    ) internal view returns (Rest memory rest) {
        rest.orders = _load(further, Accounts.firstOf(account), Accounts.countOf(account));
        if (Accounts.standingOf(account) == Accounts.RESTING) result = 0;
        unchecked {
            (uint256 energy, uint256 money) = _settle(
                rest,
                epoch - Accounts.epochOf(account),
                Clearing.unpack(result),
                minimumWh
            );
            Accounts.Account memory a = Accounts.unpack(Accounts.plus(account, energy, money));
            if (rest.energyEscrow | rest.moneyEscrow == 0) (a.count, a.standing) = (0, Accounts.NONE);
            else (a.first, a.standing) = (rest.orders[0], Accounts.RESTING);
            rest.account = a.pack();
        }
    }

    /// @dev Settles the orders of `rest`, and returns what goes free.
    /// @param epochs Epochs since theirs: an order stands on if it lives as long.
    function _settle(
        Rest memory rest,
        uint256 epochs,
        Clearing.Result memory r,
        uint256 minimumWh
    ) private pure returns (uint256 freeEnergy, uint256 freeMoney) {
        unchecked {
            // At most 100 orders of 2**55 units each: no sum overflows.
            for (uint256 i = 0; i < rest.orders.length; ++i) {
                uint256 order = OrderCodec.at(rest.orders, i);
                (uint256 side, uint256 tick, uint256 quantityWh) = OrderCodec.unpack(order);
                if (quantityWh == 0) continue;
                (uint256 energy, uint256 money) = Clearing.settle(r, side, tick, quantityWh);
                uint256 restWh = 0;
                if (OrderCodec.life(order) >= epochs) {
                    restWh = Clearing.remainder(side, tick, quantityWh, energy, money);
                    if (restWh >= minimumWh) {
                        // [R9] what comes back always covers this.
                        (uint256 lockedEnergy, uint256 lockedMoney) = Clearing.escrow(side, tick, restWh);
                        energy -= lockedEnergy;
                        money -= lockedMoney;
                        rest.energyEscrow += lockedEnergy;
                        rest.moneyEscrow += lockedMoney;
                    } else if (restWh != 0) {
                        rest.tooSmall |= 1 << i;
                        restWh = 0;
                    }
                }
                freeEnergy += energy;
                freeMoney += money;
                OrderCodec.put(rest.orders, i, OrderCodec.cancelled(order) | restWh);
            }
        }
    }

    /// @dev An account's orders as they are stored.
    function _load(
        uint256[17] storage further,
        uint256 word,
        uint256 count
    ) private view returns (uint48[] memory orders) {
        unchecked {
            orders = new uint48[](count);
            for (uint256 i = 0; i < count; ++i) {
                if (i != 0) {
                    uint256 lane = (i - 1) % OrderCodec.PER_WORD;
                    word = lane == 0 ? further[(i - 1) / OrderCodec.PER_WORD] : word >> OrderCodec.BITS;
                }
                OrderCodec.put(orders, i, word & OrderCodec.MASK);
            }
        }
    }

    /// @notice Takes dead orders out, and the epochs that have passed out of the life of the others.
    function roll(uint48[] memory orders, uint256 epochs) internal pure {
        unchecked {
            uint256 left = 0;
            for (uint256 i = 0; i < orders.length; ++i) {
                uint256 order = OrderCodec.at(orders, i);
                if (OrderCodec.cancelled(order) != order)
                    OrderCodec.put(orders, left++, OrderCodec.aged(order, epochs));
            }
            assembly ("memory-safe") {
                mstore(orders, left)
            }
        }
    }
}
