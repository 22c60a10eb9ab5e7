"""How clients reach us."""
