"""Object stores as obstore opens them, and their errors in words."""

from __future__ import annotations

import errno
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from ..errors import CheckpointError, ConfigError, StoreUnavailableError
from .store_options import StoreSettings, resolve_option

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_CLIENT_OPTIONS: Final = frozenset(
    (
        "allow_http",
        "allow_invalid_certificates",
        "connect_timeout",
        "http1_only",
        "http2_only",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "proxy_ca_certificate",
        "proxy_excludes",
        "proxy_url",
        "randomize_addresses",
        "read_timeout",
        "root_certificate",
        "timeout",
        "user_agent",
    )
)
_OS_ERROR: Final = re.compile(r"\(os error (\d+)\)")
_S3_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_S3_MESSAGE: Final = re.compile(r"<Message>([^<]+)</Message>")
_DISK_REMEDIES: Final = {
    errno.ENOSPC: "the disk is full; free some space, or keep fewer checkpoints",
    errno.EDQUOT: "the disk quota is used up; raise it, or keep fewer checkpoints",
    errno.EFBIG: "the file is larger than this process or file system may write; raise the limit (ulimit -f)",
    errno.EROFS: "the file system is read-only; make it writable or use another directory",
    errno.EACCES: "permission denied; make it writable for this user or use another directory",
    errno.EPERM: "not permitted; make it writable for this user or use another directory",
    errno.ENOTDIR: "a part of the path is a file; use another directory",
}
_WRONG_CREDENTIALS: Final = (
    "the store does not accept the credentials; check the key and its secret, in the environment or in checkpoint_store"
)
_NO_CREDENTIALS: Final = (
    "there are no credentials; set them in the environment (such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) "
    "or in checkpoint_store"
)
_REMEDIES: Final = (
    (r"169\.254\.|metadata\.google|MissingAccessKey|MissingSecretAccessKey|CredentialsNotLoaded", _NO_CREDENTIALS),
    (r"NoSuchBucket|ContainerNotFound", "there is no such bucket; make it, or correct its name"),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken|AuthenticationFailed|UserNotFound"
        r"|UnauthenticatedError|status code: 401",
        _WRONG_CREDENTIALS,
    ),
    (
        r"AccessDenied|PermissionDeniedError|status code: 403",
        "the store refuses it to these credentials; allow them to read, write, list and delete there",
    ),
    (r"URL scheme is not allowed", "the store cannot be reached; check its endpoint and the network"),
)
_REMEDIES_OF_UNAVAILABLE: Final = (
    (
        r"SlowDown|status code: (429|5\d\d)",
        "the store is overloaded or out of order; try later, or raise store_patience",
    ),
    (
        r"kind: Timeout",
        "the store does not answer in time; check the network, or raise store_request_timeout and store_patience",
    ),
    (r"body error|kind: Interrupted", "the connection to the store breaks again and again; check the network"),
    (r"error sending request|kind: Connect", "the store cannot be reached; check its endpoint and the network"),
)
_NO_OBJECT: Final = frozenset({"NoSuchKey", "BlobNotFound"})


def open_store(url: str, settings: StoreSettings) -> ObjectStore:
    """The store of a URL. Nothing is sent to it yet. What `options` do not say, obstore takes from the environment.

    Raises:
        ConfigError: the URL or an option means nothing, or a reference leads nowhere.
    """
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    if url.startswith("memory:"):
        return from_url(url)
    options = {name: resolve_option(name, value) for name, value in settings.options.items()}
    client_options = {name: options.pop(name) for name in _CLIENT_OPTIONS & options.keys()}
    arguments: dict[str, Any] = {
        "config": options or None,
        "client_options": {
            "allow_http": True,  # whoever writes http:// means it
            "timeout": timedelta(seconds=settings.request_timeout_s),
            "connect_timeout": timedelta(seconds=min(5.0, settings.request_timeout_s)),
            **client_options,
        },
        "retry_config": {
            # The time limits, not the number.
            "max_retries": 1000,
            "retry_timeout": timedelta(seconds=settings.patience_s),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
        },
    }
    try:
        return from_url(url, **arguments)
    except (BaseError, ValueError, TypeError) as error:
        raise ConfigError(
            f"checkpoints cannot be kept at {url!r}: {str(error).splitlines()[0]}; give a directory, or a URL "
            'such as "s3://bucket/prefix", "gs://…", "az://…" or "memory://", and options that its kind of store has'
        ) from error


def refusal(what: str, address: str, error: Exception) -> CheckpointError:
    """One line about a store that refuses: what was tried, where, why, and what to do."""
    if isinstance(error, CheckpointError):
        return error
    text = f"{type(error).__name__}: {error}"
    code = error.errno if isinstance(error, OSError) else None
    if code is None and (found := _OS_ERROR.search(text)) is not None:
        code = int(found[1])
    if code in _DISK_REMEDIES:
        return CheckpointError(f"cannot {what} {address}: {_DISK_REMEDIES[code]}")
    said = _S3_CODE.search(text)
    if said is not None:
        text = f"{said[1]} {text}"
    for kind, remedies in ((CheckpointError, _REMEDIES), (StoreUnavailableError, _REMEDIES_OF_UNAVAILABLE)):
        for pattern, remedy in remedies:
            if re.search(pattern, text):
                told = f" ({said[1]})" if said is not None else ""
                return kind(f"cannot {what} {address}: {remedy}{told}")
    message = _S3_MESSAGE.search(text)
    first_line = message[1] if message is not None else (str(error) or type(error).__name__).splitlines()[0]
    return CheckpointError(f"cannot {what} {address}: {first_line}")


def is_missing_object(error: FileNotFoundError) -> bool:
    """Whether it is just the object that is not there. A store may also answer so when there is no such bucket, or when it
    does not know who asks: nobody may take that for an empty storage."""
    said = _S3_CODE.search(str(error))
    return said is None or said[1] in _NO_OBJECT


def is_cut(error: Exception) -> bool:
    """Whether an answer broke off after it had begun, or the end of an upload is not known to a store that has carried it
    out already: the store itself tries only again what was not answered."""
    return "body error" in str(error) or "NoSuchUpload" in str(error)
