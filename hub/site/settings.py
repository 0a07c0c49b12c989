"""Django settings. Everything an operator may change is an environment variable, read here and only here."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from hub.site.bootstrap.assets import minilm_folder
from hub.site.env import (
    env_bool,
    env_int,
    env_list,
    env_networks,
    env_path,
    env_str,
    read_database_url,
    read_store_url,
)

BASE_DIR = Path(__file__).resolve().parents[2]
DATA_DIR = env_path("DATA_DIR", BASE_DIR / "data")


def load_secret_key() -> str:
    """The key that signs sessions and download links; made once per data folder, readable by its owner only."""
    if os.environ.get("SECRET_KEY"):
        return os.environ["SECRET_KEY"]
    path = DATA_DIR / "secret_key"
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        descriptor, draft = tempfile.mkstemp(dir=DATA_DIR, prefix="secret_key-")  # readable by its owner only
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
        # A link is made once and whole: of processes that start together all read the same key.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        os.unlink(draft)
    return path.read_text()


SECRET_KEY = load_secret_key()
DEBUG = env_bool("DEBUG", False)
# A self-hosted hub is reached by whatever name its network gives it; the Host header only builds links.
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", "*")
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS", "")
PUBLIC_URL = env_str("PUBLIC_URL", "").rstrip("/")  # "" = take it from each request
LISTENER_URL = env_str("LISTENER_URL", "")  # address of the streaming listener, "" = poll only
SITE_NAME = env_str("SITE_NAME", "Model Commons")

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "hub",
    "training",
    "moderation",
]
MIDDLEWARE = [
    "hub.api.error_responses.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "hub.web.middleware.CsrfForPagesMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "hub.api.auth.TokenMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "hub.api.error_responses.HubErrorMiddleware",
]
ROOT_URLCONF = "hub.site.urls"
WSGI_APPLICATION = "hub.site.wsgi.application"
APPEND_SLASH = False  # the hub's own addresses carry none, and a redirect would break uploads

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "hub.web.context.site",
                "hub.site.bootstrap.setup_progress.setup_in_templates",
            ],
            "libraries": {"hub_format": "hub.web.templatetags.hub_format"},
        },
    }
]

DATABASE_URL = env_str("DATABASE_URL", "")
if DATABASE_URL:
    DATABASES = {"default": read_database_url("DATABASE_URL", DATABASE_URL)}
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATA_DIR / "db.sqlite3",
            "OPTIONS": {
                "timeout": 20,  # seconds a writer waits for another
                # IMMEDIATE: take the write lock at BEGIN, so that a waiting writer queues instead of failing at once.
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
            },
            "TEST": {"NAME": DATA_DIR / "test.sqlite3"},
        }
    }
# A thread keeps its connection: making one for each request took as long as everything else that a small answer needs.
DATABASES["default"] |= {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "hub.User"
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
SESSION_COOKIE_NAME = "model_commons_session"
CSRF_COOKIE_NAME = "model_commons_csrf"
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_CROSS_ORIGIN_OPENER_POLICY = None  # plain http on a local network is a supported set-up

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = DATA_DIR / "static"
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # whitenoise warns of a missing folder at each start
WHITENOISE_USE_FINDERS = True  # no collectstatic step between a fresh clone and the first page
WHITENOISE_AUTOREFRESH = DEBUG

# Bodies are streamed by our own views; Django's limit only guards forms and JSON.
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 20_000  # paths-info of the stock client sends many
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]

CELERY_BROKER_URL = env_str("CELERY_BROKER_URL", f"redis+socket://{DATA_DIR}/valkey/valkey.sock")
MAX_REGULAR_FILE_BYTES = env_int("MAX_REGULAR_FILE_BYTES", 10 * 1024 * 1024)  # larger files live in the blob store
MAX_COMMIT_BODY_BYTES = env_int("MAX_COMMIT_BODY_BYTES", 1024 * 1024 * 1024)
MAX_FILE_BYTES = env_int("MAX_FILE_BYTES", 500 * 1024**3)
LFS_PART_BYTES = env_int("LFS_PART_BYTES", 1024**3)  # larger files go up in parts of so many where Xet is not used
# Bytes of large files that each may hold; 0 = no limit. `./manage.py quota` says otherwise for one of them.
QUOTA_USER_BYTES = env_int("QUOTA_USER_BYTES", 0)
QUOTA_ORGANIZATION_BYTES = env_int("QUOTA_ORGANIZATION_BYTES", 0)
QUOTA_REPOSITORY_BYTES = env_int("QUOTA_REPOSITORY_BYTES", 0)
STORE_URL = read_store_url("STORE_URL", env_str("STORE_URL", ""))  # "" = in DATA_DIR
STORE_CACHE_BYTES = env_int("STORE_CACHE_BYTES", 10 * 1024**3)  # local copies of what a bucket holds
# Where nginx in front keeps `alias DATA_DIR/store/xorbs/` as an internal location; "" = the site sends all bytes itself.
ACCEL_REDIRECT_PREFIX = env_str("ACCEL_REDIRECT_PREFIX", "").rstrip("/")
FREE_TRAIN_BUDGET_S = env_int(
    "FREE_TRAIN_BUDGET_S", 0
)  # seconds of training that start without a maintainer, per person and day

TRAININGS_AT_ONCE = env_int(
    "TRAININGS_AT_ONCE", 3
)  # of one person who is no operator, waiting or running; 0 = any number
PREPARATIONS_AT_ONCE = env_int("PREPARATIONS_AT_ONCE", 20)  # likewise: proposals whose data is read and packed

# The public dataset with the rules of the hub, as NAMESPACE/NAME; made under this name, and followed when it moves.
POLICY_REPOSITORY = env_str("POLICY_REPOSITORY", "model-commons/moderation-policy")

# Networks inside which webhooks may be delivered; all others have to be public addresses.
WEBHOOK_ALLOWED_NETWORKS = env_networks("WEBHOOK_ALLOWED_NETWORKS", "")

# Folder of the judge's sentence model; where it is not there, or "", words alone are judged and reports say so.
JUDGE_ENCODER = env_str("JUDGE_ENCODER", str(minilm_folder()))

ENGINE_MEMORY_BYTES = env_int("ENGINE_MEMORY_BYTES", 0)  # of one training process; 0: what the machine can spare
ENGINE_PROCESSES = env_int("ENGINE_PROCESSES", 0)  # of one training; 0: as many as there are cards, one without any
ENGINE_WATTS = env_int("ENGINE_WATTS", 0)  # drawn by the machine while it trains; 0: 15 for each thread
KWH_PRICE = env_int("KWH_PRICE", 30)  # of a kilowatt hour, in minor units of the currency
MACHINE_HOUR_PRICE = env_int(
    "MACHINE_HOUR_PRICE", 0
)  # of an hour of the machine itself, in minor units; 0: it is there anyway
CURRENCY = env_str("CURRENCY", "EUR")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["hub.api.auth.HubAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": ["hub.api.rest.parsers.BoundedJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "hub.api.error_responses.answer_exception",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Model Commons",
    "DESCRIPTION": "REST API of a hub where a community improves open language models.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "PREPROCESSING_HOOKS": ["hub.api.rest.schema.keep_rest_endpoints"],
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"httpx2": {"level": "WARNING"}},  # the stock client in the demo: a line for each request
    "root": {"handlers": ["console"], "level": env_str("LOG_LEVEL", "INFO")},
}


import hub.site.celery  # noqa: E402, F401  the app exists in every process that has settings, so that jobs can wake workers
