select
    flights.flight_date,
    flights.origin,
    flights.carrier,
    max(airlines.airline_name) as airline_name,
    count(*) as flights,
    count(case when flights.outcome = 'cancelled' then 1 end) as cancelled,
    count(case when flights.outcome in ('late', 'very late') then 1 end) as late,
    cast(count(case when flights.outcome in ('late', 'very late') then 1 end) as double)
        / nullif(count(flights.arrival_delay_minutes), 0) as late_share,
    avg(flights.departure_delay_minutes) as mean_departure_delay_minutes,
    avg(flights.arrival_delay_minutes) as mean_arrival_delay_minutes,
    -- the weather in the hours the flights were to leave: a calm night must not hide a stormy afternoon
    -- as decimals, because a sum of doubles depends on the order of the rows
    cast(avg(cast(weather.temperature_fahrenheit as decimal(9, 2))) as double) as mean_temperature_fahrenheit,
    max(weather.wind_speed_mph) as max_wind_speed_mph,
    max(weather.precipitation_inches) as max_precipitation_inches,
    min(weather.visibility_miles) as min_visibility_miles
from {{ ref('fct_flights') }} as flights
left join {{ ref('dim_airlines') }} as airlines on flights.carrier = airlines.carrier
left join {{ ref('fct_weather') }} as weather
    on flights.origin = weather.airport and flights.departure_hour = weather.observed_at
group by flights.flight_date, flights.origin, flights.carrier
