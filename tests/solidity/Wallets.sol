// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

interface ITradingOfWallets {
    function setContractWallet(bool enabled) external;

    function enterBundles(uint8 zone, bytes calldata bundles) external returns (uint256);

    function cancelUpTo(uint32 nonce) external;
}

/// @notice A contract that trades; what it says of signatures is told after it was made.
contract Wallet {
    enum Answer {
        Yes,
        No,
        OtherWord,
        NoWord,
        Revert,
        RevertMegabytes,
        ReturnMegabytes,
        BurnGas,
        Reenter,
        ShortAnswer
    }

    error SaysNothing();

    Answer public answer;
    address public trading;
    bytes public again;

    constructor(address trading_) {
        trading = trading_;
    }

    function opt(bool enabled) external {
        ITradingOfWallets(trading).setContractWallet(enabled);
    }

    function say(Answer answer_, bytes calldata again_) external {
        answer = answer_;
        again = again_;
    }

    function isValidSignature(bytes32, bytes calldata) external returns (bytes4) {
        Answer a = answer;
        if (a == Answer.Yes) return 0x1626ba7e;
        if (a == Answer.OtherWord) return 0x12345678;
        if (a == Answer.Revert) revert SaysNothing();
        if (a == Answer.BurnGas) {
            uint256 rounds = 0;
            while (gasleft() > 0) ++rounds;
        }
        if (a == Answer.Reenter) {
            // Tried in both ways: with the batch again, and with a verb of its own.
            try ITradingOfWallets(trading).enterBundles(1, again) returns (uint256 entered) {
                return bytes4(uint32(entered));
            } catch {
                ITradingOfWallets(trading).cancelUpTo(7);
            }
            return 0x1626ba7e;
        }
        assembly {
            if eq(a, 3) {
                return(0, 0)
            }
            if eq(a, 5) {
                revert(0, 40000)
            }
            if eq(a, 6) {
                mstore(0, shl(224, 0x1626ba7e))
                return(0, 40000)
            }
            if eq(a, 9) {
                mstore(0, shl(224, 0x1626ba7e))
                return(0, 4)
            }
        }
        return 0xffffffff;
    }
}
