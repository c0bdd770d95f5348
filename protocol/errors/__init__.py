"""Everything that watchglass refuses on purpose, by a stable code.

Callers match on `code`, never on the text. The text names the value at fault
and what to do; the facts are attributes. `server/errors.py` maps each class to
its HTTP status; the codes of the worker runtime contract keep their words.
"""

from .access import ForbiddenHost as ForbiddenHost
from .access import ForbiddenOrigin as ForbiddenOrigin
from .access import InsufficientScope as InsufficientScope
from .access import PermissionDenied as PermissionDenied
from .access import TlsRequired as TlsRequired
from .access import Unauthorized as Unauthorized
from .base import SHOWN_CHARS_MAX as SHOWN_CHARS_MAX
from .base import Internal as Internal
from .base import RuntimeFault as RuntimeFault
from .base import cut as cut
from .base import faults as faults
from .base import printable as printable
from .base import shown as shown
from .cursors import CursorExpired as CursorExpired
from .cursors import CursorFault as CursorFault
from .cursors import CursorLost as CursorLost
from .cursors import CursorMalformed as CursorMalformed
from .cursors import CursorUnknown as CursorUnknown
from .cursors import LossReason as LossReason
from .cursors import TranscriptExpired as TranscriptExpired
from .launch import LAUNCH_FAULTS as LAUNCH_FAULTS
from .launch import SAID_CHARS_MAX as SAID_CHARS_MAX
from .launch import LaunchFailed as LaunchFailed
from .launch import SandboxSetupFailed as SandboxSetupFailed
from .requests import BodyTooLarge as BodyTooLarge
from .requests import InvalidJson as InvalidJson
from .requests import InvalidQuery as InvalidQuery
from .requests import InvalidRequest as InvalidRequest
from .requests import InvalidWorkerId as InvalidWorkerId
from .requests import LimitTooLarge as LimitTooLarge
from .requests import MethodNotAllowed as MethodNotAllowed
from .requests import NotFound as NotFound
from .requests import NotOnSession as NotOnSession
from .requests import RangeNotSatisfiable as RangeNotSatisfiable
from .requests import UnknownMethod as UnknownMethod
from .requests import WrongRuntime as WrongRuntime
from .requests import WrongRuntimeCursor as WrongRuntimeCursor
from .resources import InsufficientResources as InsufficientResources
from .resources import ResourceLimitExceeded as ResourceLimitExceeded
from .resources import UnsupportedCapability as UnsupportedCapability
from .store import StoreCorrupt as StoreCorrupt
from .store import StoreFault as StoreFault
from .store import StoreIo as StoreIo
from .store import StoreMissing as StoreMissing
from .workers import ArchiveInvalid as ArchiveInvalid
from .workers import IdempotencyConflict as IdempotencyConflict
from .workers import InputBacklog as InputBacklog
from .workers import RuntimeStopped as RuntimeStopped
from .workers import StatePoisoned as StatePoisoned
from .workers import TaskNotFound as TaskNotFound
from .workers import WorkerActive as WorkerActive
from .workers import WorkerExists as WorkerExists
from .workers import WorkerNotFound as WorkerNotFound
