// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

/// @title Messages
/// @notice What participants sign: EIP-712 structs, worded for whoever reads them in a wallet. The domain is
///         Trading's (name "Busbar Trading", version "1"); docs/protocol.md, "Signed messages", shows one.
/// @dev The hashing of bundles is assembly, for a bundle has up to a hundred orders: with its calldata and decoding
///      an order costs 510 gas in a call of the shipped function, 2,282 in one of its readable twin,
///      tests/solidity/MessagesTwin.sol. A test holds the two together.
library Messages {
    bytes32 private constant _ORDER_TYPEHASH = keccak256(
        "Order(string action,uint32 energyWh,uint16 limitTicksPerKWh,uint32 untilEpoch)"
    );
    bytes32 private constant _ORDERS_TYPEHASH = keccak256(
        "Orders(address account,uint8 zone,uint8 source,uint32 nonce,uint32 firstEpoch,uint32 lastEpoch,Order[] orders)"
        "Order(string action,uint32 energyWh,uint16 limitTicksPerKWh,uint32 untilEpoch)"
    );
    bytes32 private constant _CANCEL_ORDER_TYPEHASH = keccak256(
        "CancelOrder(address account,uint32 epoch,uint8 index,string action,uint32 energyWh,uint16 limitTicksPerKWh)"
    );
    bytes32 private constant _CANCEL_UP_TO_TYPEHASH = keccak256("CancelUpTo(address account,uint32 nonce)");
    bytes32 private constant _WITHDRAW_TYPEHASH = keccak256(
        "Withdraw(address account,string asset,uint256 amountWei,address to,uint32 nonce,uint64 deadline)"
    );
    bytes32 private constant _BUY = keccak256("buy");
    bytes32 private constant _SELL = keccak256("sell");
    bytes32 private constant _ENERGY = keccak256("energy");
    bytes32 private constant _MONEY = keccak256("money");

    /// @dev Reserved: energy of any source. Later, orders may ask for energy of one.
    uint256 private constant _ANY_SOURCE = 0;

    /// @notice What is signed for a bundle: struct and domain, hashed.
    /// @param domain Domain separator.
    /// @param orders See `hashOrders`.
    function digestBundle(
        bytes32 domain,
        address account,
        uint256 zone,
        uint256 nonce,
        uint256 firstEpoch,
        uint256 lastEpoch,
        uint48[] memory orders
    ) internal pure returns (bytes32 digest) {
        bytes32 ordersHash = hashOrders(orders, firstEpoch);
        bytes32 typehash = _ORDERS_TYPEHASH;
        assembly ("memory-safe") {
            let struct_ := mload(0x40)
            mstore(struct_, typehash)
            mstore(add(struct_, 0x20), account)
            mstore(add(struct_, 0x40), zone)
            mstore(add(struct_, 0x60), _ANY_SOURCE)
            mstore(add(struct_, 0x80), nonce)
            mstore(add(struct_, 0xa0), firstEpoch)
            mstore(add(struct_, 0xc0), lastEpoch)
            mstore(add(struct_, 0xe0), ordersHash)
            let structHash := keccak256(struct_, 0x100)
            mstore(struct_, hex"1901")
            mstore(add(struct_, 0x02), domain)
            mstore(add(struct_, 0x22), structHash)
            digest := keccak256(struct_, 0x42)
        }
    }

    /// @notice Memory in which the messages of bundles of one order are filled in, with what they have in common.
    /// @dev Order: typehash, action, energyWh, tick, last epoch (5 words). Bundle: typehash, account, zone, source, nonce, first
    ///      epoch, last epoch, hash of orders (8 words). Then the two bytes 0x1901, domain and struct hash.
    /// @param domain Domain separator.
    /// @return form Where it begins.
    function singleForm(bytes32 domain, uint256 zone) internal pure returns (uint256 form) {
        (bytes32 orderTypehash, bytes32 typehash) = (_ORDER_TYPEHASH, _ORDERS_TYPEHASH);
        assembly ("memory-safe") {
            form := mload(0x40)
            mstore(0x40, add(form, 0x220))
            mstore(form, orderTypehash)
            mstore(add(form, 0xa0), typehash)
            mstore(add(form, 0xe0), zone)
            mstore(add(form, 0x100), _ANY_SOURCE)
            mstore(add(form, 0x1a0), hex"1901")
            mstore(add(form, 0x1a2), domain)
        }
    }

    /// @notice Whether a bundle of one order was signed with its account's key.
    /// @dev Signatures whose s is in the upper half are refused, as by OpenZeppelin's ECDSA.
    /// @param form See `singleForm`.
    /// @param head See `BundleCodec.single`.
    /// @param start Where in calldata the bundle stands. 39 bytes on are r, and s with the parity in the highest bit
    ///        (EIP-2098).
    function isSingleSigned(
        uint256 form,
        uint256 head,
        uint256 side,
        uint256 tick,
        uint256 quantityWh,
        uint256 start
    ) internal view returns (bool signed) {
        (bytes32 buy, bytes32 sell) = (_BUY, _SELL);
        assembly ("memory-safe") {
            let action := buy
            if side {
                action := sell
            }
            mstore(add(form, 0x20), action)
            mstore(add(form, 0x40), quantityWh)
            mstore(add(form, 0x60), tick)
            // It trades in the epoch it enters, and what is signed for that is the first it may enter.
            let firstEpoch := and(shr(32, head), 0xffffffff)
            mstore(add(form, 0x80), firstEpoch)
            mstore(0, keccak256(form, 0xa0))
            mstore(add(form, 0x180), keccak256(0, 0x20))
            let account := shr(96, head)
            mstore(add(form, 0xc0), account)
            mstore(add(form, 0x120), and(shr(64, head), 0xffffffff))
            mstore(add(form, 0x140), firstEpoch)
            mstore(add(form, 0x160), and(head, 0xffffffff))
            mstore(add(form, 0x1c2), keccak256(add(form, 0xa0), 0x100))
            let vs := calldataload(add(start, 71))
            let s := and(vs, 0x7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff)
            // Behind the form: what the precompile takes. Without an answer it returns nothing.
            let input := mload(0x40)
            mstore(input, keccak256(add(form, 0x1a0), 0x42))
            mstore(add(input, 0x20), add(shr(255, vs), 27))
            mstore(add(input, 0x40), calldataload(add(start, 39)))
            mstore(add(input, 0x60), s)
            pop(staticcall(gas(), 1, input, 0x80, 0, 0x20))
            signed := and(
                and(eq(mload(0), account), eq(returndatasize(), 0x20)),
                lt(s, 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a1)
            )
        }
    }

    /// @notice Hash of the array of orders in a bundle.
    /// @param orders Valid orders as in OrderCodec: side, quantity, tick and life, and all four are hashed.
    /// @param firstEpoch The epoch from which their life counts: what is signed is the last epoch of each.
    function hashOrders(uint48[] memory orders, uint256 firstEpoch) internal pure returns (bytes32 hash) {
        (bytes32 typehash, bytes32 buy, bytes32 sell) = (_ORDER_TYPEHASH, _BUY, _SELL);
        assembly ("memory-safe") {
            let count := mload(orders)
            // One order as a struct, five words used again and again, and behind it the hashes of all.
            let struct_ := mload(0x40)
            let hashes := add(struct_, 0xa0)
            mstore(struct_, typehash)
            let from := add(orders, 0x20)
            let last := add(from, shl(5, count))
            for {
                let to := hashes
            } lt(from, last) {
                from := add(from, 0x20)
                to := add(to, 0x20)
            } {
                let order := mload(from)
                let action := buy
                if and(shr(34, order), 1) {
                    action := sell
                }
                mstore(add(struct_, 0x20), action)
                mstore(add(struct_, 0x40), and(order, 0xffffff))
                mstore(add(struct_, 0x60), and(shr(24, order), 0x3ff))
                mstore(add(struct_, 0x80), add(firstEpoch, shr(35, order)))
                mstore(to, keccak256(struct_, 0xa0))
            }
            hash := keccak256(hashes, shl(5, count))
        }
    }

    /// @notice Struct hash of the cancel of one order.
    function hashCancelOrder(
        address account,
        uint256 epoch,
        uint256 index,
        uint256 side,
        uint256 tick,
        uint256 quantityWh
    ) internal pure returns (bytes32) {
        bytes32 action = side == 0 ? _BUY : _SELL;
        return keccak256(abi.encode(_CANCEL_ORDER_TYPEHASH, account, epoch, index, action, quantityWh, tick));
    }

    /// @notice Struct hash of the cancel of all messages up to a nonce.
    function hashCancelUpTo(address account, uint256 nonce) internal pure returns (bytes32) {
        return keccak256(abi.encode(_CANCEL_UP_TO_TYPEHASH, account, nonce));
    }

    /// @notice Struct hash of a withdrawal.
    function hashWithdraw(
        address account,
        bool isEnergy,
        uint256 amountWei,
        address to,
        uint256 nonce,
        uint256 deadline
    ) internal pure returns (bytes32) {
        bytes32 asset = isEnergy ? _ENERGY : _MONEY;
        return keccak256(abi.encode(_WITHDRAW_TYPEHASH, account, asset, amountWei, to, nonce, deadline));
    }
}
