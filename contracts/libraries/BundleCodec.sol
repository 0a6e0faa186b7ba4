// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

/// @title Bundle codec
/// @notice Signed bundles as a relayer packs them, one behind the other, in calldata.
/// @dev Layout of one, in order:
///
///      | bytes | field      | meaning                                                               |
///      |-------|------------|-----------------------------------------------------------------------|
///      | 20    | account    | whose orders                                                          |
///      | 4     | nonce      | of the message                                                        |
///      | 4     | firstEpoch | first epoch it may enter                                              |
///      | 4     | lastEpoch  | last one                                                              |
///      | 1     | count      | orders, 0 to 127; highest bit: a length precedes the signature        |
///      | 6 x n | orders     | each as in OrderCodec, its life counted from firstEpoch               |
///      | 0, 2  | length     | bytes of the signature, if the highest bit of count is set            |
///      | 64, l | signature  | r, and s with the parity in the highest bit (EIP-2098); or what a contract wallet takes |
///
///      103 bytes for a bundle of one order. Zone and source are not in it: the zone is the call's, the source is
///      reserved, and both are part of what was signed.
library BundleCodec {
    /// @notice Most orders that the layout can express; a market allows fewer.
    uint256 internal constant MAX_COUNT = 127;

    /// @notice Bytes of a bundle of one order with a signature of 64 bytes.
    uint256 internal constant SINGLE_BYTES = 103;

    uint256 private constant _HEAD_BYTES = 33;
    uint256 private constant _ORDER_BYTES = 6;
    uint256 private constant _SIGNATURE_BYTES = 64;

    /// @notice A bundle, taken apart.
    struct Bundle {
        address account;
        uint256 nonce;
        uint256 firstEpoch;
        uint256 lastEpoch;
        /// Where its orders stand.
        uint256 ordersStart;
        /// Where its signature stands, and where the bundle ends.
        uint256 signatureStart;
        uint256 end;
    }

    /// @notice The bytes from `offset` on are no bundle: they end too early.
    error MalformedBatch(uint256 offset);

    /// @notice Takes the bundle at `offset` apart, into memory that is there already: a batch uses the same for all.
    /// @param orders Room for MAX_COUNT orders: gets its length and the orders, as they stand, unchecked.
    function load(Bundle memory bundle, bytes calldata batch, uint256 offset, uint48[] memory orders) internal pure {
        unchecked {
            // Offsets are below the size of a transaction: nothing overflows.
            uint256 start = offset + _HEAD_BYTES;
            uint256 head = _word(batch, offset);
            uint256 count = _word(batch, start - 1) >> 248;
            bundle.account = address(uint160(head >> 96));
            bundle.nonce = (head >> 64) & type(uint32).max;
            bundle.firstEpoch = (head >> 32) & type(uint32).max;
            bundle.lastEpoch = head & type(uint32).max;
            bundle.ordersStart = start;
            uint256 end;
            if (count > MAX_COUNT) {
                count &= MAX_COUNT;
                end = start + count * _ORDER_BYTES;
                bundle.signatureStart = end + 2;
                bundle.end = end + 2 + (_word(batch, end) >> 240);
            } else {
                end = start + count * _ORDER_BYTES;
                bundle.signatureStart = end;
                bundle.end = end + _SIGNATURE_BYTES;
            }
            // Behind the end of calldata everything reads as zero, so a bundle cut off shows here at the latest.
            if (bundle.end > batch.length) revert MalformedBatch(offset);
            assembly ("memory-safe") {
                mstore(orders, count)
                let from := add(batch.offset, start)
                let last := add(batch.offset, end)
                for {
                    let to := add(orders, 0x20)
                } lt(from, last) {
                    from := add(from, 6)
                    to := add(to, 0x20)
                } {
                    mstore(to, shr(208, calldataload(from)))
                }
            }
        }
    }

    /// @notice Where a batch stands in calldata.
    function startOf(bytes calldata batch) internal pure returns (uint256 start) {
        assembly ("memory-safe") {
            start := batch.offset
        }
    }

    /// @notice Reads a bundle of one order with a signature of 64 bytes, if that is what stands there.
    /// @param start Where in calldata.
    /// @param end Where in calldata the batch ends.
    /// @return head Account 160, nonce 32, first epoch 32, last epoch 32 bits, the account highest.
    /// @return order The order, unchecked.
    /// @return other 0; anything else if it is another bundle, or none: then the rest means nothing.
    function single(uint256 start, uint256 end) internal pure returns (uint256 head, uint256 order, uint256 other) {
        unchecked {
            // Through memory: what comes from calldata the compiler would read again and again, 200 gas more in all.
            assembly ("memory-safe") {
                calldatacopy(0, start, 0x40)
                head := mload(0)
                order := mload(0x20)
            }
            other = ((order >> 248) - 1) | ((end - start - SINGLE_BYTES) >> 255);
            order = (order >> 200) & ((1 << 48) - 1);
        }
    }

    // Offset and length of a slice, which slither takes for one variable.
    // slither-disable-start write-after-write

    /// @notice The bundle's orders, six bytes each.
    function ordersOf(
        Bundle memory bundle,
        bytes calldata batch,
        uint256 count
    ) internal pure returns (bytes calldata orders) {
        uint256 start = bundle.ordersStart;
        assembly ("memory-safe") {
            orders.offset := add(batch.offset, start)
            orders.length := mul(count, 6)
        }
    }

    /// @notice The bundle's signature.
    function signatureOf(Bundle memory bundle, bytes calldata batch) internal pure returns (bytes calldata signature) {
        (uint256 start, uint256 end) = (bundle.signatureStart, bundle.end);
        assembly ("memory-safe") {
            signature.offset := add(batch.offset, start)
            signature.length := sub(end, start)
        }
    }

    // slither-disable-end write-after-write

    /// @dev The 32 bytes at `offset`.
    function _word(bytes calldata batch, uint256 offset) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(batch.offset, offset))
        }
    }
}
