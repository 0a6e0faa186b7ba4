// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {Messages} from "../../contracts/libraries/Messages.sol";

/// @notice The readable twin of Messages: what EIP-712 says, word by word. A test holds the two together.
contract MessagesTwin {
    struct Order {
        string action;
        uint32 energyWh;
        uint16 limitTicksPerKWh;
        uint32 untilEpoch;
    }

    struct Orders {
        address account;
        uint8 zone;
        uint8 source;
        uint32 nonce;
        uint32 firstEpoch;
        uint32 lastEpoch;
        Order[] orders;
    }

    bytes32 internal constant ORDER = keccak256(
        "Order(string action,uint32 energyWh,uint16 limitTicksPerKWh,uint32 untilEpoch)"
    );
    bytes32 internal constant ORDERS = keccak256(
        "Orders(address account,uint8 zone,uint8 source,uint32 nonce,uint32 firstEpoch,uint32 lastEpoch,Order[] orders)"
        "Order(string action,uint32 energyWh,uint16 limitTicksPerKWh,uint32 untilEpoch)"
    );

    function readable(bytes32 domain, Orders memory m) external pure returns (bytes32) {
        bytes32[] memory orders = new bytes32[](m.orders.length);
        for (uint256 i = 0; i < orders.length; ++i) {
            Order memory o = m.orders[i];
            orders[i] = keccak256(
                abi.encode(ORDER, keccak256(bytes(o.action)), o.energyWh, o.limitTicksPerKWh, o.untilEpoch)
            );
        }
        bytes32 ordersHash = keccak256(abi.encodePacked(orders));
        bytes32 structHash = keccak256(
            abi.encode(ORDERS, m.account, m.zone, m.source, m.nonce, m.firstEpoch, m.lastEpoch, ordersHash)
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function shipped(
        bytes32 domain,
        address account,
        uint256 zone,
        uint256 nonce,
        uint256 firstEpoch,
        uint256 lastEpoch,
        uint48[] memory orders
    ) external pure returns (bytes32) {
        return Messages.digestBundle(domain, account, zone, nonce, firstEpoch, lastEpoch, orders);
    }
}
