// SPDX-License-Identifier: MIT
pragma solidity 0.8.35;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title BahtToken
/// @notice Thai baht on chain for a market's settlement: 1 THB = 1e18 wei. An issuer creates it against
///         baht received and destroys it against baht paid out.
/// @dev The issuer must be trusted for redemption at par. It cannot freeze balances, nor take any without
///      an allowance. Issuing is stopped by withdrawing the issuer role.
contract BahtToken is ERC20, ERC20Permit, AccessManaged {
    /// @notice Baht received; `ref` is the issuer's opaque reference to the payment.
    event Issued(address indexed to, uint256 amount, bytes32 ref);
    /// @notice Baht paid out; `ref` is the issuer's opaque reference to the payment.
    event Redeemed(address indexed from, uint256 amount, bytes32 ref);

    /// @param authority Access manager.
    constructor(address authority) ERC20("Busbar Baht", "bTHB") ERC20Permit("Busbar Baht") AccessManaged(authority) {}

    /// @notice Creates baht. Issuers only.
    /// @param amount Baht wei, 1e18 to the baht.
    /// @param ref The issuer's opaque reference to the payment; no personal data.
    function issue(address to, uint256 amount, bytes32 ref) external restricted {
        _mint(to, amount);
        emit Issued(to, amount, ref);
    }

    /// @notice Destroys baht of `from` within the allowance it gave the issuer. Issuers only.
    /// @param amount Baht wei.
    /// @param ref The issuer's opaque reference to the payment; no personal data.
    function redeem(address from, uint256 amount, bytes32 ref) external restricted {
        if (from != msg.sender) _spendAllowance(from, msg.sender, amount);
        _burn(from, amount);
        emit Redeemed(from, amount, ref);
    }
}
