"""All tables of the hub app, gathered where Django looks for them. The rooms own them."""

from hub.accounts.models import *  # noqa: F403
from hub.common.models import *  # noqa: F403
from hub.community.models import *  # noqa: F403
from hub.community.social_models import *  # noqa: F403
from hub.community.webhooks.models import *  # noqa: F403
from hub.repos.access_models import *  # noqa: F403
from hub.repos.models import *  # noqa: F403
from hub.repos.purge_models import *  # noqa: F403
