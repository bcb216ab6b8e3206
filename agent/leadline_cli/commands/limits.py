"""``leadline limits``: the catalogue of published limits with their sources."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from leadline.errors import ConfigError

if TYPE_CHECKING:
    from leadline.limits.catalogue import Catalogue, Limit, Profile


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``limits`` to the command line."""
    parser = commands.add_parser(
        "limits",
        help="show the published limits and their sources",
        description="Show the catalogue of published limits with their sources.",
        epilog="example: leadline limits list --vendor vmware --metric rtt --current",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="list limits or profiles",
        description="List the limits or the profiles of the catalogue.",
        epilog="example: leadline limits list --vendor vmware --metric rtt --current",
    )
    listing.add_argument("--vendor", metavar="TEXT", help="only vendors with TEXT in their name")
    listing.add_argument("--metric", metavar="METRIC", help="only this metric, such as rtt, jitter or bandwidth")
    listing.add_argument("--current", action="store_true", help="only limits of current product versions")
    listing.add_argument("--profiles", action="store_true", help="list the profiles instead")
    listing.set_defaults(run=run_list)
    show = actions.add_parser(
        "show",
        help="show one limit or profile",
        description="Show a limit with its source and how leadline evaluates it, or the limits of a profile.",
        epilog="example: leadline limits show vmware-vsan-9.0-stretched-rtt",
    )
    show.add_argument("id", metavar="ID", help="id of a limit or profile")
    show.set_defaults(run=run_show)
    for action in (listing, show):
        action.add_argument("--json", action="store_true", help="print one JSON document")


def run_list(args: argparse.Namespace) -> int:
    """Print a table with one line for each limit or profile."""
    from leadline.limits.catalogue import load_catalogue
    from leadline_cli.commands import limits_text

    catalogue = load_catalogue()
    if args.profiles:
        profiles = _select_profiles(catalogue, args)
        _print_document(
            args, lambda: {"profiles": profiles}, lambda: limits_text.format_profile_table(catalogue, profiles)
        )
    else:
        limits = _select_limits(catalogue, args)
        _print_document(args, lambda: {"limits": limits}, lambda: limits_text.format_limit_table(limits))
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Print the details of one limit or profile."""
    from leadline.limits.catalogue import load_catalogue
    from leadline_cli.commands import limits_text

    catalogue = load_catalogue()
    if args.id in catalogue.limits:
        limit = catalogue.get_limit(args.id)
        _print_document(
            args, lambda: _build_limit_document(catalogue, limit), lambda: limits_text.format_limit(catalogue, limit)
        )
    else:
        profile = catalogue.get_profile(args.id)
        _print_document(
            args,
            lambda: _build_profile_document(catalogue, profile),
            lambda: limits_text.format_profile(catalogue, profile),
        )
    return 0


def _select_limits(catalogue: Catalogue, args: argparse.Namespace) -> list[Limit]:
    from leadline.limits.catalogue import LifecycleStatus, Metric

    limits = list(catalogue.limits.values())
    if args.vendor is not None:
        limits = [limit for limit in limits if args.vendor.casefold() in limit.vendor.casefold()]
        if not limits:
            vendors = sorted({limit.vendor for limit in catalogue.limits.values()})
            raise ConfigError(
                "--vendor", f"no vendor has {args.vendor!r} in its name; the vendors are {', '.join(vendors)}"
            )
    if args.metric is not None:
        if args.metric not in list(Metric):
            raise ConfigError("--metric", f"{args.metric!r} is not a metric; use one of {', '.join(Metric)}")
        limits = [limit for limit in limits if limit.metric == args.metric]
    return [limit for limit in limits if limit.status is LifecycleStatus.CURRENT] if args.current else limits


def _select_profiles(catalogue: Catalogue, args: argparse.Namespace) -> list[Profile]:
    """Return the profiles with at least one limit that passes the filters."""
    ids = {limit.id for limit in _select_limits(catalogue, args)}
    return [profile for profile in catalogue.profiles.values() if ids.intersection(profile.all_of)]


def _build_limit_document(catalogue: Catalogue, limit: Limit) -> dict[str, Any]:
    from leadline.evaluation import UnevaluableLimit, derive_criterion

    result = derive_criterion(limit)
    criterion = None if isinstance(result, UnevaluableLimit) else result
    return {
        "limit": limit,
        "limit_us": limit.value_us,
        "judged": criterion
        and {
            "rule": criterion.description,
            "sensitivity": criterion.stricter_statistic,
            "assumed": criterion.approximation,
        },
        "not_judged": result.reason if isinstance(result, UnevaluableLimit) else None,
        "conflicts": catalogue.get_conflicts(limit.id),
        "profiles": [profile.id for profile in catalogue.profiles.values() if limit.id in profile.all_of],
    }


def _build_profile_document(catalogue: Catalogue, profile: Profile) -> dict[str, Any]:
    return {
        "profile": profile,
        "all_of": [_build_limit_document(catalogue, limit) for limit in catalogue.get_required_limits(profile)],
        "declared": [_build_limit_document(catalogue, limit) for limit in catalogue.get_declared_limits(profile)],
    }


def _print_document(args: argparse.Namespace, document: Callable[[], dict[str, Any]], text: Callable[[], str]) -> None:
    """Print the document as JSON with the catalogue digest, or print the text."""
    if not args.json:
        print(text())
        return
    import msgspec

    from leadline.limits.catalogue import load_catalogue

    encoded = msgspec.json.Encoder(decimal_format="number").encode(
        {"catalogue_sha256": load_catalogue().digest, **document()}
    )
    print(msgspec.json.format(encoded, indent=2).decode())
