"""What is measured of a model beside RecBole's metrics: outcomes of users, intervals, cold items, seconds."""
