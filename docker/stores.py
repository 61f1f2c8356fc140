"""Vigil's own tables, and the bucket of the lake when it does not exist yet."""

from __future__ import annotations

from pipelines import database, objects
from pipelines.settings import get_settings


def main() -> None:
    settings = get_settings()
    database.migrate(settings)
    if objects.is_s3(settings.lake_url):
        objects.ensure_bucket(settings.lake_url)
    print("tables migrated, bucket there")


if __name__ == "__main__":
    main()
