"""Distances, minimum RTTs, reach and plausibility, compared with the tables of method.md §5."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.limits.catalogue import Comparison
from leadline.model import Site
from leadline.propagation import (
    GLASS_INDEX,
    SPEED_OF_LIGHT_M_PER_S,
    VACUUM_INDEX,
    Feasibility,
    Plausibility,
    PropagationDelay,
    check_feasibility,
    check_plausibility,
    compute_propagation_delay,
    geodesic_distance_km,
    reachable_distance_km,
    round_trip_delay_ns,
)

CITIES = {
    "amsterdam": (52.3676, 4.9041),
    "chicago": (41.8781, -87.6298),
    "dublin": (53.3498, -6.2603),
    "frankfurt": (50.1109, 8.6821),
    "london": (51.5074, -0.1278),
    "new-york": (40.7128, -74.0060),
    "paris": (48.8566, 2.3522),
    "singapore": (1.3521, 103.8198),
    "sydney": (-33.8688, 151.2093),
    "tokyo": (35.6762, 139.6503),
    "vienna": (48.2082, 16.3738),
    "zurich": (47.3769, 8.5417),
}

#: Pair, geodesic in km, minimum RTT in a vacuum and on glass fibre in ms.
PAIRS = [
    ("frankfurt", "zurich", 304.209, 2.03, 2.98),
    ("amsterdam", "paris", 430.243, 2.87, 4.21),
    ("zurich", "vienna", 593.776, 3.96, 5.82),
    ("frankfurt", "london", 639.667, 4.27, 6.26),
    ("chicago", "new-york", 1147.191, 7.65, 11.23),
    ("vienna", "dublin", 1687.093, 11.26, 16.52),
    ("london", "new-york", 5585.234, 37.26, 54.70),
    ("frankfurt", "tokyo", 9354.335, 62.41, 91.61),
    ("frankfurt", "singapore", 10261.274, 68.46, 100.49),
    ("london", "sydney", 16989.296, 113.34, 166.38),
]

#: Published geodesics on WGS-84: two places, and the length in metres with the published digits.
GEODESICS = [
    # GeographicLib, examples: JFK to LHR, Wellington to Salamanca (Vincenty's method fails for it).
    ((40.6, -73.8), (51.6, -0.5), "5551759.400"),
    ((-41.32, 174.81), (40.96, -5.50), "19959679.267"),
    # GeographicLib, regression tests 0, 6, 9, 10, 11 and 74: JFK to CDG, nearly antipodal pairs, 40 m.
    ((40.6, -73.8), (49.01666667, 2.55), "5853226"),
    ((88.202499451857, 0.0), (-88.202499451857, 179.981022032992859592), "20003898.214"),
    ((56.320923501171, 0.0), (-56.320923501171, 179.664747671772880215), "19993558.287"),
    ((52.784459512564, 0.0), (-52.784459512563990912, 179.634407464943777557), "19991596.095"),
    ((48.522876735459, 0.0), (-48.52287673545898293, 179.599720456223079643), "19989144.774"),
    ((54.1589, 15.3872), (54.1591, 15.3877), "39.528"),
    # Karney's test set of geodesics, rows from the library.
    ((35.60777, -139.44815), (-11.17491, -69.95921), "8935244.560"),
    ((-21.97856, 142.59065), (41.84138, 98.56635), "8394328.895"),
    ((-17.42761, 173.34268), (-15.84784, 5.93557), "16076603.163"),
]

#: Any coordinates with any uncertainty.
SITES = st.builds(
    Site,
    name=st.just("anywhere"),
    latitude_deg=st.floats(-90, 90),
    longitude_deg=st.floats(-180, 180),
    uncertainty_km=st.floats(0, 1_000),
)

LIMITS_US = [5_000, 10_000, 150_000]


def site(name: str, uncertainty_km: float = 0.0) -> Site:
    latitude, longitude = CITIES[name]
    return Site(name=name, latitude_deg=latitude, longitude_deg=longitude, uncertainty_km=uncertainty_km)


def make_delay(vacuum_ns: int, glass_ns: int) -> PropagationDelay:
    return PropagationDelay(
        distance_km=1.0, distance_low_km=1.0, vacuum_ns=vacuum_ns, glass_ns=glass_ns, glass_index=GLASS_INDEX
    )


class TestMinimumRtt:
    @pytest.mark.parametrize(("a", "b", "km", "vacuum_ms", "glass_ms"), PAIRS)
    def test_city_pairs(self, a: str, b: str, km: float, vacuum_ms: float, glass_ms: float) -> None:
        """Distances agree with the table to a metre, minimum RTTs to its last digit."""
        pair = compute_propagation_delay(site(a), site(b))

        assert pair.distance_km == pytest.approx(km, abs=0.001)
        assert pair.vacuum_ns / 1e6 == pytest.approx(vacuum_ms, abs=0.0051)
        assert pair.glass_ns / 1e6 == pytest.approx(glass_ms, abs=0.0051)

    def test_distance_is_on_the_ellipsoid(self) -> None:
        """A degree of longitude at the equator is longer than one of latitude, unlike on a sphere."""
        origin = Site(name="origin", latitude_deg=0, longitude_deg=0)
        north = Site(name="north", latitude_deg=1, longitude_deg=0)
        east = Site(name="east", latitude_deg=0, longitude_deg=1)

        assert geodesic_distance_km(origin, north) == pytest.approx(110.574, abs=0.001)
        assert geodesic_distance_km(origin, east) == pytest.approx(111.319, abs=0.001)

    @pytest.mark.parametrize(
        ("index", "us_per_km"), [(VACUUM_INDEX, 6.6713), (GLASS_INDEX, 9.7934), (Fraction("1.4682"), 9.7948)]
    )
    def test_microseconds_per_kilometre(self, index: Fraction, us_per_km: float) -> None:
        """The RTT over one kilometre is the textbook value of the medium."""
        assert round_trip_delay_ns(1.0, index) / 1e3 == pytest.approx(us_per_km, abs=0.001)

    @given(st.floats(0, 20_100), st.sampled_from([VACUUM_INDEX, GLASS_INDEX]))
    def test_a_minimum_rtt_is_rounded_down(self, km: float, index: Fraction) -> None:
        """It is at most the exact time, and less than a nanosecond below it."""
        exact_ns = 2 * Fraction(km) * 1_000 * index * 10**9 / SPEED_OF_LIGHT_M_PER_S

        assert 0 <= exact_ns - round_trip_delay_ns(km, index) < 1

    def test_uncertainty_of_both_sites_is_subtracted(self) -> None:
        """The minimum RTT is for the shortest distance within the uncertainties."""
        pair = compute_propagation_delay(site("frankfurt", 10), site("zurich", 5))

        assert pair.distance_km - pair.distance_low_km == pytest.approx(15)
        assert pair.glass_ns < compute_propagation_delay(site("frankfurt"), site("zurich")).glass_ns

    def test_sites_within_their_uncertainty_have_a_minimum_rtt_of_0(self) -> None:
        """The two sites may be at the same place; there is no longest route."""
        pair = compute_propagation_delay(site("frankfurt", 200), site("zurich", 200))

        assert (pair.distance_low_km, pair.vacuum_ns, pair.glass_ns) == (0.0, 0, 0)
        assert check_feasibility(pair, 5_000, Comparison.LESS_EQUAL).route_factor_max is None

    @given(SITES, SITES)
    def test_direction_does_not_matter(self, a: Site, b: Site) -> None:
        """Swapping the sites changes neither the distance nor the minimum RTTs."""
        assert compute_propagation_delay(a, b) == compute_propagation_delay(b, a)

    @pytest.mark.parametrize(("a", "b", "metres"), GEODESICS)
    def test_published_geodesics(self, a: tuple[float, float], b: tuple[float, float], metres: str) -> None:
        """The distance agrees with the published value to its last digit."""
        places = [Site(name="place", latitude_deg=latitude, longitude_deg=longitude) for latitude, longitude in (a, b)]
        digits = len(metres.partition(".")[2])

        assert f"{geodesic_distance_km(*places) * 1_000:.{digits}f}" == metres


class TestReach:
    @pytest.mark.parametrize(
        ("index", "km"), [(VACUUM_INDEX, (749.5, 1499.0, 22_484)), (GLASS_INDEX, (510.5, 1021.1, 15_316))]
    )
    def test_reach_of_a_limit(self, index: Fraction, km: tuple[float, float, float]) -> None:
        """Reach of 5, 10 and 150 ms as in the table."""
        assert [reachable_distance_km(limit_us, index=index) for limit_us in LIMITS_US] == pytest.approx(km, abs=0.5)

    @pytest.mark.parametrize(("factor", "km"), [(1.3, 392.7), (1.5, 340.4), (2.1, 243.1)])
    def test_a_route_factor_shortens_the_reach(self, factor: float, km: float) -> None:
        """A longer route covers a shorter distance in the same time."""
        assert reachable_distance_km(5_000, route_factor=factor) == pytest.approx(km, abs=0.05)

    @pytest.mark.parametrize(
        ("a", "b", "limit_us", "reach"),
        [
            ("frankfurt", "zurich", 5_000, Feasibility.POSSIBLE),
            ("zurich", "vienna", 5_000, Feasibility.IMPOSSIBLE_ON_GLASS_FIBRE),
            ("zurich", "vienna", 10_000, Feasibility.POSSIBLE),
            ("chicago", "new-york", 10_000, Feasibility.IMPOSSIBLE_ON_GLASS_FIBRE),
            ("vienna", "dublin", 10_000, Feasibility.IMPOSSIBLE),
            ("london", "new-york", 150_000, Feasibility.POSSIBLE),
            ("london", "sydney", 150_000, Feasibility.IMPOSSIBLE_ON_GLASS_FIBRE),
        ],
    )
    def test_feasibility_of_limits(self, a: str, b: str, limit_us: int, reach: Feasibility) -> None:
        """Feasibility as in the table."""
        assert (
            check_feasibility(compute_propagation_delay(site(a), site(b)), limit_us, Comparison.LESS_EQUAL).feasibility
            is reach
        )

    @pytest.mark.parametrize(
        ("a", "b", "limit_us", "factor"),
        [
            ("frankfurt", "zurich", 5_000, 1.68),
            ("amsterdam", "paris", 5_000, 1.19),
            ("zurich", "vienna", 10_000, 1.72),
            ("frankfurt", "london", 10_000, 1.60),
            ("frankfurt", "tokyo", 150_000, 1.64),
            ("frankfurt", "singapore", 150_000, 1.49),
        ],
    )
    def test_the_longest_route(self, a: str, b: str, limit_us: int, factor: float) -> None:
        """Longest route that meets the limit, as a multiple of the straight line."""
        result = check_feasibility(compute_propagation_delay(site(a), site(b)), limit_us, Comparison.LESS_EQUAL)

        assert result.route_factor_max == pytest.approx(factor, abs=0.005)

    @pytest.mark.parametrize(
        ("comparison", "reach"),
        [(Comparison.LESS_EQUAL, Feasibility.POSSIBLE), (Comparison.LESS, Feasibility.IMPOSSIBLE_ON_GLASS_FIBRE)],
    )
    def test_at_equality_the_comparison_decides(self, comparison: Comparison, reach: Feasibility) -> None:
        """A minimum RTT equal to the limit is possible for ``<=`` and not for ``<``."""
        assert check_feasibility(make_delay(4_000_000, 5_000_000), 5_000, comparison).feasibility is reach

    def test_one_nanosecond_over_the_limit_is_impossible(self) -> None:
        """The minimum RTT in a vacuum is compared in nanoseconds."""
        assert (
            check_feasibility(make_delay(5_000_001, 7_000_000), 5_000, Comparison.LESS_EQUAL).feasibility
            is Feasibility.IMPOSSIBLE
        )

    def test_the_reach_uses_the_index_of_the_delay(self) -> None:
        """A fibre with a different group index has a different reach."""
        pair = compute_propagation_delay(site("frankfurt"), site("zurich"), index=Fraction("1.5"))

        assert check_feasibility(pair, 5_000, Comparison.LESS_EQUAL).reachable_km == pytest.approx(499.7, abs=0.05)


class TestMeasuredMinimum:
    @pytest.mark.parametrize(
        ("rtt_us", "plausibility"),
        [
            (3_999, Plausibility.INVALID),
            (4_000, Plausibility.CHECK_COORDINATES_OR_MEDIUM),
            (4_999, Plausibility.CHECK_COORDINATES_OR_MEDIUM),
            (5_000, Plausibility.PLAUSIBLE),
        ],
    )
    def test_faster_than_light_is_invalid(self, rtt_us: int, plausibility: Plausibility) -> None:
        """An RTT below the minimum in a vacuum is invalid, one below the minimum on glass needs a check."""
        assert check_plausibility(make_delay(4_000_000, 5_000_000), rtt_us).plausibility is plausibility

    def test_inflation_and_longest_fibre(self) -> None:
        """6 ms between Frankfurt and Zurich is twice the minimum RTT, and at most 613 km of fibre."""
        result = check_plausibility(compute_propagation_delay(site("frankfurt"), site("zurich")), 6_000)

        assert result.inflation == pytest.approx(2.01, abs=0.005)
        assert result.fibre_km_max == pytest.approx(612.7, abs=0.1)

    def test_inflation_at_distance_0_is_none(self) -> None:
        """The ratio is undefined."""
        assert check_plausibility(make_delay(0, 0), 100).inflation is None
