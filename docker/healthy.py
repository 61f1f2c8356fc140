"""Whether a page of this container answers with success: the health checks of docker-compose.yaml."""

import sys
import urllib.request

urllib.request.urlopen(sys.argv[1], timeout=8).close()  # noqa: S310 - the address stands in docker-compose.yaml
