"""Made by `make vulture-allowlist`: names in use that vulture does not see."""

from typing import Any

_: Any = None

# Columns of a batch; the insert reads them by name.
_.ntp_estimated_error_us
_.ntp_max_error_us
_.ntp_offset_us

# Columns of the current state; the views of Grafana read them.
_.bad_both_15
_.bad_latency_15
_.bad_loss_15

# Fields of API responses.
_.applied_at_iso
_.judged
_.state_at_iso
_.windows_expected

# Fields of `leadline check --json`.
_.catalogue_sha256
_.leadline
_.observed_us

# Fields of the spool's manifest on disk.
_.refused_at_s

# Fields of the verdict document (docs/verdict.schema.json).
_.before_period
_.coverage_min
_.days_full
_.decides
_.holds
_.hours_missing
_.leadline
_.longest_outage_minutes
_.observed_when_available
_.outage_minutes
_.quarterly_outage_missed
_.segments_agree
_.tipping_point_minutes
_.wrong_claims_expected

# Libraries read or call these names.
_._checksum  # icmplib's ICMPSocket calls it
_.all_  # the signature of progress functions
_.collect  # prometheus_client calls it at a scrape
_.components  # the merged dictionary is part of the OpenAPI document
_.describe  # prometheus_client calls it at registration
_.frame  # the signature of signal handlers
_.globals  # Jinja2 reads it
_.id_val  # grafana-foundation-sdk writes it into the dashboard
_.is_disconnect  # SQLAlchemy reads it after an error
_.isolation_level  # sqlite3 reads it
_.max_redirects  # requests reads it
_.schema_version  # grafana-foundation-sdk writes it into the dashboard
_.should_exit  # uvicorn reads it
_.subsequent_indent  # textwrap reads it

# Tests check the product through these names.
_.count_at_or_below  # the stored histograms are read by tests until a page draws them
_.find_drift  # tests of migrations compare tables and database
_.list_dead_letters  # the spool's tests read its dead letters

# The catalogue of limits (TOML) has these words.
_.ARCHIVED_COPY
_.CONTROL_PLANE
_.DEDICATED
_.DIFFERENT_QUANTITIES
_.DISPUTED
_.EDGE_TO_EDGE
_.END_OF_SUPPORT
_.HOST_TO_HOST
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
_.REPLACED
_.REPLICATION
_.SECONDARY
_.SITE_TO_SITE
_.STEADY_STATE
_.STRETCHED_CLUSTER
_.SUM_OVER_LINKS
_.TEXT_COPY
_.THIRD_PARTY
_.TO_WITNESS
_.VENDOR_PAGE
_.VENDOR_REPOSITORY
_.WORST_CASE
_.newer
_.open_questions

# The pages' templates read these fields.
_.above_count
_.above_share
_.bucket_length
_.computed_at
_.counterfactuals
_.csv_url
_.declared_limits
_.destinations
_.distribution_image
_.distribution_omitted_limits
_.fibre_length_max
_.fibre_routes
_.first_window_at
_.gap_counted_max
_.gap_days
_.gaps_json_url
_.glass_km
_.glass_rtt_min
_.group_choices
_.has_imported_data
_.headline
_.heat_class
_.host_count
_.icon
_.image
_.imported_directions
_.interval_method
_.invalid_count
_.is_compact
_.is_sparse
_.is_tiny
_.is_used
_.json_url
_.key_expiry
_.last_batch_at
_.latest_at
_.latest_p95
_.latest_window_at
_.limit_counts
_.line_descriptions
_.local_time
_.longest_stretch
_.main_cause
_.match_count
_.measured_rtt_min
_.measured_state
_.no_interval_reason
_.no_share
_.ntp
_.other_profiles
_.path_count
_.period_choices
_.period_length
_.probes_min
_.profile_choices
_.profile_title
_.profile_views
_.qualifiers
_.reach_by_limit
_.reach_labels
_.reason_descriptions
_.related_limits
_.reverse_url
_.ring_choices
_.share_classes
_.short_share
_.simulated_agents
_.simulated_groups
_.sort_choices
_.spool_percent
_.target_met_count
_.time_zones
_.uncertainty
_.unexplained_count
_.unknown_count
_.unmeasured_counts
_.usable_share
_.vacuum_km
_.vacuum_rtt_min
_.vendor_choices
_.verdict_pairs_max
_.week_chart
_.week_image
_.week_rows
_.wider_url
_.worst_hour
_.worst_p95
_.worst_pair
