"""What may be set about tokens: the `[tokens]` table. Importable without the JWT library."""

from __future__ import annotations

import msgspec

_SECRET = frozenset({"hmac_secret", "hmac_previous_secret"})


class TokenOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[tokens]` table: which tokens are believed. Several kinds of keys may be set side by side.

    anonymous: clients may connect without any token, as nobody in particular.
    hmac_secret: for HS256, HS384, HS512; at least 32 bytes.
    hmac_previous_secret: also accepted; for the time in which a new secret replaces an old one.
    public_key: RSA (RS256, RS384, RS512), EC (ES256, ES384, ES512) or Ed25519 (EdDSA), as PEM text or the path of a
    PEM file.
    jwks_url: http(s) address of a JSON Web Key Set with public keys; a token chooses one by its header `kid`.
    jwks_fresh_s: the set is fetched again after this; the old one stays in use while that fails.
    jwks_retry_s: it is never fetched more often than this, however many unknown `kid` come.
    audience, issuer: when set, `aud` has to be or contain the one, and `iss` to be the other.
    user_claim: the claim that holds the user id.
    leeway_s: how far the signer's clock may be off.
    """

    anonymous: bool = False
    hmac_secret: str | None = None
    hmac_previous_secret: str | None = None
    public_key: str | None = None
    jwks_url: str | None = None
    jwks_fresh_s: float = 3600.0
    jwks_retry_s: float = 10.0
    audience: str | None = None
    issuer: str | None = None
    user_claim: str = "sub"
    leeway_s: float = 0.0

    @property
    def has_key(self) -> bool:
        """Whether any token can be believed at all."""
        return any((self.hmac_secret, self.hmac_previous_secret, self.public_key, self.jwks_url))

    def __rich_repr__(self) -> list[tuple[str, object]]:
        shown = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return [(name, "***" if name in _SECRET and value else value) for name, value in shown]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"
