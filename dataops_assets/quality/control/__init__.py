"""Statistical process control: monitors, forecasts, and verdicts with a declared rate of false alarms."""
