"""Made by `make vulture-allowlist`: names in use that vulture does not see."""

from typing import Any

_: Any = None

# Columns of a batch; the insert reads them by name.
_.ntp_estimated_error_us
_.ntp_max_error_us
_.ntp_offset_us

# Fields of `leadline check --json`.
_.catalogue_sha256
_.leadline

# Fields of answers of the API.
_.applied_at_iso
_.state_at_iso

# Fields of the verdict document (docs/verdict.schema.json).
_.coverage_min
_.days_full
_.hours_missing
_.leadline
_.longest_minutes
_.observed_when_available
_.segments_agree

# Libraries read or call these names.
_._checksum  # icmplib's ICMPSocket calls it
_.all_  # the signature of progress functions
_.collect  # prometheus_client calls it at a scrape
_.components  # the merged dictionary is part of the OpenAPI document
_.describe  # prometheus_client calls it at registration
_.filters  # Jinja2 reads it
_.globals  # Jinja2 reads it
_.id_val  # grafana-foundation-sdk writes it into the dashboard
_.is_disconnect  # SQLAlchemy reads it after an error
_.isolation_level  # sqlite3 reads it
_.max_redirects  # requests reads it
_.media_type  # Starlette reads it
_.should_exit  # uvicorn reads it
_.subsequent_indent  # textwrap reads it

# Tests check the product through these names.
_.dead_letters  # the spool's tests read its dead letters
_.drift  # tests of migrations compare tables and database

# The catalogue of limits (TOML) has these words.
_.ARCHIVED_COPY
_.CONTROL_PLANE
_.DEDICATED
_.DEFAULT
_.EDGE_TO_EDGE
_.END_OF_SUPPORT
_.HOST_TO_HOST
_.INFORMATIONAL
_.LINK_SPEED
_.LIVE_MIGRATION
_.MANAGER_TO_HOST
_.MANAGER_TO_MANAGER
_.MAXIMUM_SUPPORTED
_.MAXIMUM_UNDER_LOAD
_.METRO_STORAGE
_.MIRROR
_.NODE_TO_NODE
_.PER_CONCURRENT_MIGRATION
_.PING_LATENCY
_.RANGE_OVER_WINDOW
_.RECOMMENDATION
_.REPLICATION
_.REQUIREMENT
_.SECONDARY
_.SITE_TO_SITE
_.STEADY_STATE
_.STRETCHED_CLUSTER
_.SUM_OVER_LINKS
_.SUPERSEDED
_.TEXT_COPY
_.THIRD_PARTY
_.TO_WITNESS
_.VENDOR
_.VENDOR_PAGE
_.VENDOR_REPOSITORY
_.WORST_CASE
_.newer

# The pages' templates read these fields.
_.brief
_.counted_max
_.destinations
_.distribution_image
_.distribution_too_far
_.fibre
_.gap_days
_.gaps_json
_.glass
_.headline
_.heat
_.image
_.interval_rule
_.judged_at
_.latest_at
_.ntp
_.other_profiles
_.profile_choices
_.profile_title
_.reaching
_.sorts
_.spool_percent
_.tiny
_.uncertainty
_.unexplained
_.unmeasured
_.vacuum
_.week_image
_.week_rows
_.wider
_.zones
