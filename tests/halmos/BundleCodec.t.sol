// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {BundleCodec} from "../../contracts/libraries/BundleCodec.sol";
import {Proof} from "./Proof.sol";

// solhint-disable func-name-mixedcase -- halmos knows a proof by `check_`

/// @title BundleCodecProof
/// @notice Bundles come out of a batch as they went in. Lengths are examples, their contents are anything.
contract BundleCodecProof is Proof {
    struct Message {
        address account;
        uint32 nonce;
        uint32 firstEpoch;
        uint32 lastEpoch;
        uint48 first;
        uint48 second;
        bytes32 r;
        bytes32 vs;
    }

    /// @notice A bundle with a key's signature, behind another one.
    function check_load__with_a_key_s_signature__is_what_was_packed(Message calldata m, bytes32 before) external view {
        bytes memory packed = abi.encodePacked(
            before,
            abi.encodePacked(m.account, m.nonce, m.firstEpoch, m.lastEpoch, uint8(2)),
            abi.encodePacked(m.first, m.second, m.r, m.vs)
        );
        this.requireLoaded(packed, 32, m, 32 + 33 + 12, packed.length);
    }

    /// @notice A bundle with a signature of another length.
    function check_load__with_a_signature_of_another_length__is_what_was_packed(Message calldata m) external view {
        bytes memory packed = abi.encodePacked(
            abi.encodePacked(m.account, m.nonce, m.firstEpoch, m.lastEpoch, uint8(128 + 2)),
            abi.encodePacked(m.first, m.second, uint16(32), m.r)
        );
        this.requireLoaded(packed, 0, m, 33 + 12 + 2, packed.length);
    }

    /// @notice A bundle of one order, read the short way, behind another one.
    function check_single__one_order_with_a_key_s_signature__is_what_was_packed(
        Message calldata m,
        bytes32 before
    ) external view {
        bytes memory packed = abi.encodePacked(
            before,
            abi.encodePacked(m.account, m.nonce, m.firstEpoch, m.lastEpoch, uint8(1)),
            abi.encodePacked(m.first, m.r, m.vs)
        );
        this.requireSingle(packed, 32, m);
    }

    /// @notice Whatever is not one order with a key's signature, or is cut off, is not read the short way.
    function check_single__anything_else__is_refused(Message calldata m, uint8 count) external view {
        bytes memory packed = abi.encodePacked(
            abi.encodePacked(m.account, m.nonce, m.firstEpoch, m.lastEpoch, count),
            abi.encodePacked(m.first, m.r, m.vs)
        );
        if (count != 1) this.requireNotSingle(packed, packed.length);
        this.requireNotSingle(packed, packed.length - 1);
        this.requireNotSingle(packed, 0);
    }

    /// @notice Holds a bundle of one order of a batch against its message.
    function requireSingle(bytes calldata batch, uint256 offset, Message calldata m) external pure {
        uint256 start = BundleCodec.startOf(batch);
        (uint256 head, uint256 order, uint256 other) = BundleCodec.single(start + offset, start + batch.length);
        assert(other == 0 && order == m.first && offset + BundleCodec.SINGLE_BYTES == batch.length);
        assert(address(uint160(head >> 96)) == m.account && uint32(head >> 64) == m.nonce);
        assert(uint32(head >> 32) == m.firstEpoch && uint32(head) == m.lastEpoch);
    }

    /// @notice Holds that the first `length` bytes of a batch are no bundle of one order.
    function requireNotSingle(bytes calldata batch, uint256 length) external pure {
        uint256 start = BundleCodec.startOf(batch);
        // slither-disable-next-line unused-return -- the rest means nothing then
        (, , uint256 other) = BundleCodec.single(start, start + length);
        assert(other != 0);
    }

    /// @notice Holds a bundle of a batch against its message.
    function requireLoaded(
        bytes calldata batch,
        uint256 offset,
        Message calldata m,
        uint256 signatureStart,
        uint256 end
    ) external pure {
        uint48[] memory orders = new uint48[](BundleCodec.MAX_COUNT);
        BundleCodec.Bundle memory bundle;
        BundleCodec.load(bundle, batch, offset, orders);
        assert(bundle.account == m.account && bundle.nonce == m.nonce);
        assert(bundle.firstEpoch == m.firstEpoch && bundle.lastEpoch == m.lastEpoch);
        assert(orders.length == 2 && orders[0] == m.first && orders[1] == m.second);
        assert(bundle.signatureStart == signatureStart && bundle.end == end);
        assert(BundleCodec.ordersOf(bundle, batch, 2).length == 12);
        assert(bytes32(BundleCodec.signatureOf(bundle, batch)[:32]) == m.r);
    }
}
